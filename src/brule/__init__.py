"""brule: a detector of named landmarks, trained without annotated images; `brule.load(source).predict(photo)`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brule.detector.model import Detector

__all__ = ["load"]


def load(source: Path | str, device: str = "cpu") -> Detector:
    """The detector in a file that training wrote, or in MLflow's registry: `models:/brule@champion`, `models:/brule/3`.

    Raises BruleError naming the source where it is none. torch is imported here, not by `import brule`.
    """
    found: Detector = import_module("brule.detector.model").load(source, device)
    return found
