"""Rendered faces with exact landmarks: the embedded default data, owed to nobody."""

from brule.data.synthetic.picture import render

__all__ = ["render"]
