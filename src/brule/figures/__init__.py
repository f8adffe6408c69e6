"""Every picture the project makes. Nothing here knows a network: arrays in, one PNG out, written atomically."""

from brule.figures.curves import ced, history, search
from brule.figures.grids import overlays, sample_grid
from brule.figures.shapes import barycenter

__all__ = ["barycenter", "ced", "history", "overlays", "sample_grid", "search"]
