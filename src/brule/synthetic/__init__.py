"""Rendered faces with exact landmarks: the embedded default data, owed to nobody."""

from brule.synthetic.picture import render

__all__ = ["render"]
