"""A detector from where it is kept: a file, or MLflow's registry of models."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from brule.detector import Detector

REGISTRY = "models:/"
"""How the addresses of registered models begin."""


def load(source: Path | str, device: str = "cpu") -> Detector:
    """The detector in a file that training wrote, or the registered `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises BruleError naming the source where it is none. Of a registered model the weights alone are fetched and none
    of its code is run; MLflow is imported for these only.
    """
    if not str(source).startswith(REGISTRY):
        return Detector.load(source, device)
    from brule.tracking.registry import fetch

    with TemporaryDirectory(prefix="brule-") as folder:
        return Detector.load(fetch(str(source), Path(folder)), device)
