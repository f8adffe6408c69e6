"""Every picture of the project. Nothing here knows a network: arrays go in, and one PNG comes out, atomically."""

from brule.figures.curves import ced
from brule.figures.grids import overlays, sample_grid
from brule.figures.progress import history, search
from brule.figures.shapes import barycenter

__all__ = ["barycenter", "ced", "history", "overlays", "sample_grid", "search"]
