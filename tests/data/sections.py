"""Sections of params.yaml with every required key, for tests that care about a few of them."""

from typing import Any

from brule.config import Data, Prepare

_DATA: dict[str, Any] = {
    "source": "synthetic",
    "location": None,
    "labels": None,
    "shapes": None,
    "normaliser": None,
    "synthetic": {"train": 3, "validation": 1, "test": 2, "size": 64},
}
_PREPARE: dict[str, Any] = {
    "image_size": 64,
    "crop_fill": 0.737,
    "crop_lift": 0.0385,
    "validation": 0.1,
    "test": 0.15,
    "labelled": None,
}


def data(**keys: Any) -> Data:
    """Rendered faces, unless the keys say otherwise."""
    return Data.model_validate(_DATA | keys)


def prepare(**keys: Any) -> Prepare:
    """DVE's crop, a tenth for validation and 15 % for the test."""
    return Prepare.model_validate(_PREPARE | keys)
