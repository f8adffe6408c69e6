"""How good a detector is: its errors beside the floor and the oracles, its collapse monitors and its speed."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from brule.data.prepared import Crops
from brule.detector.model import Detector
from brule.maths import metrics
from brule.maths.monitors import BATCH, probe

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]

UNMEASURED: dict[str, Any] = {
    **dict.fromkeys(("nme", "margin", "w1", "floor_nme", "floor_w1", "oracle_similarity_nme", "oracle_affine_nme")),
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
class Measurements:
    """The detector's answers on all images of a split, and their errors on the M labelled ones."""

    images: Images
    """(N, S, S, 3)."""
    points: npt.NDArray[np.float32]
    """(N, K, 2): the detector's answers in crop units."""
    known: npt.NDArray[np.intp]
    """(M,): the places of the labelled images among the N."""
    truth: Floats | None
    """(M, K, 2) in crop units. None: no image has landmarks."""
    errors: dict[str, Floats]
    """NME (M,) in percent of `detector`, `floor`, `oracle_similarity` and `oracle_affine`; empty without landmarks."""
    scores: dict[str, Any]
    """Means over the images, under their names in results/metrics.json."""


def measure(detector: Detector, crops: Crops, X_b: Floats, batch: int = 64) -> Measurements:
    """Measure the detector on a split, beside its yardsticks.

    These answer X_b (K, 2) in crop units for every image (the floor), or X_b moved onto each image's true landmarks by
    the best similarity or affine map (the oracles). `batch` is the number of images in one pass of the encoder.
    """
    points, none = detector.points(crops.images, batch), np.empty(0, np.intp)
    known = none if crops.landmarks is None else np.flatnonzero(np.isfinite(crops.landmarks).all((1, 2)))
    if crops.landmarks is None or not len(known):
        return Measurements(crops.images, points, known, None, {}, dict(UNMEASURED))
    truth = crops.landmarks[known].astype(np.float64)
    found, scale = points[known].astype(np.float64), metrics.normaliser(truth, detector.scheme.normaliser)
    errors = {
        "detector": metrics.nme(found, truth, scale),
        "floor": metrics.floor(truth, X_b, scale),
        "oracle_similarity": metrics.oracle_similarity(truth, X_b, scale),
        "oracle_affine": metrics.oracle_affine(truth, X_b, scale),
    }
    scores: dict[str, Any] = {
        "nme": float(errors["detector"].mean()),
        "margin": margin(errors["detector"]),
        "w1": float(metrics.w1_score(found, truth, scale).mean()),
        **{f"{name}_nme": float(errors[name].mean()) for name in ("floor", "oracle_similarity", "oracle_affine")},
        "floor_w1": float(metrics.w1_score(np.tile(X_b, (len(truth), 1, 1)), truth, scale).mean()),
        "auc_08": float(metrics.auc(errors["detector"], 8.0)),
        "failure_08": float(metrics.failure_rate(errors["detector"], 8.0)),
        "failure_10": float(metrics.failure_rate(errors["detector"], 10.0)),
        "images": len(known),
    }
    if groups := parts(detector.scheme.names):
        each = {name: metrics.nme(found[:, k], truth[:, k], scale) for name, k in groups.items()}
        scores["parts"] = {name: float(values.mean()) for name, values in each.items()}
    return Measurements(crops.images, points, known, truth, errors, scores)


def margin(errors: Floats) -> float | None:
    """Half the width of the 95 % confidence interval of the mean of errors (N,), by Student's t; None below two.

    It takes the photos for independent draws. Student's t, and not the normal distribution or a bootstrap: of few
    photos these would claim too much.
    """
    count = len(errors)
    if count < 2:
        return None
    return float(student.ppf(0.975, count - 1) * np.std(errors, ddof=1) / math.sqrt(count))


def parts(names: tuple[str, ...]) -> dict[str, list[int]]:
    """{facial part: indices of its landmarks}, by the words in their names; empty if fewer than two parts are named."""
    words = [set(re.findall(r"[a-z]+", name.lower())) for name in names]
    groups = {part: [k for k, word in enumerate(words) if word & known] for part, known in _PARTS.items()}
    groups = {part: indices for part, indices in groups.items() if indices}
    return groups if len(groups) > 1 else {}


def collapse_monitors(detector: Detector, images: Images, X_b: Floats) -> dict[str, float]:
    """The monitors of collapse, `maths.monitors`, which need no landmarks; empty without images (N, S, S, 3).

    On the images of the validation split they are those that training measured for this checkpoint: its deformations
    are drawn batch by batch, so the batches must be training's.
    """
    batches = (detector.tensor(images[start : start + BATCH]) for start in range(0, len(images), BATCH))
    return probe(detector.log_maps, batches, X_b, detector.scheme.normaliser)[1]


def speed(detector: Detector, images: Images, batch: int = 64, seconds: float = 1.0) -> float | None:
    """Images per second, from crops in memory to landmarks in memory; None without images (N, S, S, 3).

    The best of the passes that fit into `seconds`: other work on the machine only ever slows a pass down.
    """
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


def evenly(rows: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """At most `count` of the rows, spread evenly over all."""
    some: npt.NDArray[Any] = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return some
