"""Find named landmarks in images with a detector that was trained without annotated ones.

import brule

detector = brule.load("models/detector.safetensors")
found = detector.predict("photo.jpg")  # found.points (K, 2) in pixels, found.confidence (K,), found.names
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brule.detector.model import Detector

__all__ = ["__version__", "load"]

__version__: str


def load(source: Path | str, device: str = "cpu") -> Detector:
    """The detector in a file that training wrote, or in MLflow's registry: `models:/brule@champion`, `models:/brule/3`.

    device: `cpu` or `cuda`. Raises BruleError naming the source if it holds no detector.
    """
    # torch is imported here, not by `import brule`.
    found: Detector = import_module("brule.detector.model").load(source, device)
    return found


def __getattr__(name: str) -> str:
    """`brule.__version__`, looked up when it is asked for: the look-up takes longer than `import brule`."""
    if name != "__version__":
        raise AttributeError(f"module 'brule' has no attribute {name!r}")
    from importlib import metadata

    try:
        return metadata.version("brule")
    except metadata.PackageNotFoundError:  # run from source, without being installed
        return "unknown"
