"""A detector against a split of prepared faces: errors beside floor and oracles, collapse monitors, speed."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.data.faces import Faces
from brule.detector import Detector
from brule.maths import metrics
from brule.maths.probe import probe

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]

UNMEASURED: dict[str, Any] = {
    **dict.fromkeys(("nme", "w1", "floor_nme", "floor_w1", "oracle_similarity_nme", "oracle_affine_nme")),
    **dict.fromkeys(("auc_08", "failure_08", "failure_10")),
    "images": 0,
}
"""The scores of a split without landmarks."""
_PARTS = {
    "jaw": {"jaw", "chin"},
    "brows": {"brow", "eyebrow"},
    "nose": {"nose", "nostril"},
    "eyes": {"eye", "pupil"},
    "mouth": {"mouth", "lip"},
}


@dataclass(frozen=True)
class Split:
    """What was found on a split; where it has landmarks, on its labelled images alone, and how far off it is."""

    images: Images
    """(N, S, S, 3)."""
    points: npt.NDArray[np.float32]
    """(N, K, 2), the detector's answers in crop units."""
    truth: Floats | None
    """(N, K, 2); None: no image has landmarks."""
    errors: dict[str, Floats]
    """NME (N,), percent, of `detector`, `floor`, `oracle_similarity`, `oracle_affine`; empty without landmarks."""
    scores: dict[str, Any]
    """Means over the images, as results/metrics.json has them."""


def measure(detector: Detector, faces: Faces, X_b: Floats, batch: int = 64) -> Split:
    """Errors of the detector, of X_b everywhere, and of the best similarity and affine map of X_b for each face."""
    if faces.landmarks is None or not len(known := np.flatnonzero(np.isfinite(faces.landmarks).all((1, 2)))):
        return Split(faces.images, detector.points(faces.images, batch), None, {}, UNMEASURED)
    images, truth = faces.images[known], faces.landmarks[known].astype(np.float64)
    points = detector.points(images, batch)
    found, scale = points.astype(np.float64), metrics.normaliser(truth, detector.scheme.normaliser)
    errors = {
        "detector": metrics.nme(found, truth, scale),
        "floor": metrics.floor(truth, X_b, scale),
        "oracle_similarity": metrics.oracle_similarity(truth, X_b, scale),
        "oracle_affine": metrics.oracle_affine(truth, X_b, scale),
    }
    scores: dict[str, Any] = {
        "nme": float(errors["detector"].mean()),
        "w1": float(metrics.w1_score(found, truth, scale).mean()),
        **{f"{name}_nme": float(errors[name].mean()) for name in ("floor", "oracle_similarity", "oracle_affine")},
        "floor_w1": float(metrics.w1_score(np.tile(X_b, (len(truth), 1, 1)), truth, scale).mean()),
        "auc_08": float(metrics.auc(errors["detector"], 8.0)),
        "failure_08": float(metrics.failure_rate(errors["detector"], 8.0)),
        "failure_10": float(metrics.failure_rate(errors["detector"], 10.0)),
        "images": len(images),
    }
    if groups := parts(detector.scheme.names):
        each = {name: metrics.nme(found[:, k], truth[:, k], scale) for name, k in groups.items()}
        scores["parts"] = {name: float(values.mean()) for name, values in each.items()}
    return Split(images, points, truth, errors, scores)


def parts(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Landmarks by facial part, as far as words in their names tell one; none where they tell less than two parts."""
    words = [set(re.findall(r"[a-z]+", name.lower())) for name in names]
    groups = {part: [k for k, word in enumerate(words) if word & known] for part, known in _PARTS.items()}
    groups = {part: indices for part, indices in groups.items() if indices}
    return groups if len(groups) > 1 else {}


def look(detector: Detector, images: Images, X_b: Floats, batch: int = 64) -> dict[str, float]:
    """The collapse monitors, which need no landmarks. Nothing without images."""
    batches = (detector.tensor(images[start : start + batch]) for start in range(0, len(images), batch))
    return probe(detector.log_maps, batches, X_b, detector.scheme.normaliser)[1]


def speed(detector: Detector, images: Images, batch: int = 64, seconds: float = 1.0) -> float | None:
    """Images a second, crops in memory to landmarks in memory: the best of the passes that fit into the time given."""
    if not len(images):
        return None
    some = images[: 2 * batch]
    detector.points(some, batch)  # the first pass also allocates
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        detector.points(some, batch)
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() >= end:
            return round(len(some) / best, 1)
