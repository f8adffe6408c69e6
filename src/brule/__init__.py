"""brule: a detector of named landmarks, trained without annotated images. `brule.load(path).predict(photo)` uses it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brule.detector import Detector

__all__ = ["load"]


def load(path: Path | str, device: str = "cpu") -> Detector:
    """The detector in a file that training wrote. Raises BruleError naming the file where it is none.

    torch is imported here, not by `import brule`.
    """
    detector: type[Detector] = import_module("brule.detector").Detector
    return detector.load(path, device)
