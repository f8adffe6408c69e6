"""How good a trained run is: the detector's errors beside its floor and oracles, its collapse monitors and its speed;
and the GAN's images: do they show the landmarks asked for, whatever the style, does the style change the rest, and
do they look like the training images?"""

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
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.maths import frechet, metrics
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


UNLIKENED: dict[str, Any] = {"frechet": None, "frechet_floor": None, "frechet_images": 0}
"""What `likeness` finds where no GAN was trained, or where there are fewer than four training images."""
UNMEASURED_SAMPLES: dict[str, Any] = {
    **dict.fromkeys(("nme", "nme_floor", "drift", "diversity")),
    "shapes": 0,
    **UNLIKENED,
}
"""The scores where no GAN was trained, or where there are fewer than two shapes."""
_AT_MOST = 500


def requested_shapes(truth: Floats | None, unpaired: npt.NDArray[Any]) -> Floats:
    """The shapes (N, K, 2) to request from G, at most 500: those of validation, or the unpaired ones if it has none."""
    some: Floats = evenly(unpaired if truth is None else truth, _AT_MOST).astype(np.float64)
    return some


def measure_samples(gan: Gan, detector: Detector, shapes: Floats, real: Images, batch: int = 64) -> dict[str, Any]:
    """The scores of G(shape, z₁) and G(shape, z₂) over shapes (N, K, 2), with truncated styles of fixed noise.

    nme: of the detector's points on an image, against the shape requested. nme_floor: the same against the shape of
    another image, which is what G would score if it ignored its condition. drift: the mean distance between the points
    on G(shape, z₁) and those on G(shape, z₂), over the shape's normaliser. All three are in percent. diversity: the
    mean ‖G(shape, z₁) − G(shape, z₂)‖₁ over that of two random images of real (M, S, S, 3); it is 1 if z changes an
    image as much as another object would, and None if fewer than two real images differ.
    """
    if not gan.iterations or len(shapes) < 2:
        return dict(UNMEASURED_SAMPLES)
    drawn = [gan.images(shapes, styles, batch) for styles in gan.styles(2 * len(shapes)).chunk(2)]
    found = [detector.points(images, batch) for images in drawn]
    scale, other = metrics.normaliser(shapes, detector.scheme.normaliser), shapes[another(len(shapes))]
    other_scale = metrics.normaliser(other, detector.scheme.normaliser)
    crops = evenly(real, _AT_MOST)
    typical = _distance(crops, crops[another(len(crops))]) if len(crops) > 1 else 0.0
    return {
        "nme": float(np.mean([metrics.nme(points, shapes, scale) for points in found])),
        "nme_floor": float(np.mean([metrics.nme(points, other, other_scale) for points in found])),
        "drift": float(metrics.nme(found[0], found[1], scale).mean()),
        "diversity": _distance(*drawn) / typical if typical else None,
        "shapes": len(shapes),
    }


def likeness(gan: Gan, unpaired: npt.NDArray[Any], real: Images, batch: int = 64) -> dict[str, Any]:
    """How far G's images are from the training images real (M, S, S, 3), by `maths.frechet`.

    frechet: the Fréchet distance d² between G(shape, z) and one random half of the real images, at most 500 of each,
    for shapes spread over the unpaired ones (N, K, 2), with styles of fixed noise that are not truncated, since
    truncation would hide how various they are. frechet_floor: that between the two halves. frechet_images: how many
    images each of the three sets has, since d² depends on it. The features are standardised over both halves.
    """
    some = evenly(real, 2 * _AT_MOST)
    half = len(some) // 2
    if not gan.iterations or half < 2 or not len(unpaired):
        return UNLIKENED
    seen = frechet.features(some[np.random.default_rng(0).permutation(len(some))])
    shapes = unpaired[np.linspace(0, len(unpaired) - 1, half).round().astype(int)]  # again and again if they are few
    drawn = frechet.features(gan.images(shapes, gan.styles(half, truncation=1.0), batch))
    one, two, fake = frechet.standardised(seen, seen[:half], seen[half : 2 * half], drawn)
    return {
        "frechet": frechet.distance(fake, one),
        "frechet_floor": frechet.distance(two, one),
        "frechet_images": half,
    }


def sample_rows(gan: Gan, shapes: Floats, columns: int, styles: int = 4) -> tuple[dict[str, Images], Floats]:
    """({label: images (N, S, S, 3)}, shapes (N, K, 2)) for a grid of at most `columns` shapes.

    The first row is blank, to draw the shapes on; then G(shape, z) follows, with one z in each row.
    """
    some = evenly(shapes, columns)
    ground = np.full((len(some), gan.image_size, gan.image_size, 3), 244, np.uint8)
    rows = {f"z{k + 1}": gan.images(some, style.expand(len(some), -1)) for k, style in enumerate(gan.styles(styles))}
    return {"shape": ground, **rows}, some


def evenly(rows: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """At most `count` of the rows, spread evenly over all."""
    some: npt.NDArray[Any] = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return some


def another(count: int) -> npt.NDArray[np.intp]:
    """(count,): a random other index for each of two or more, every index once, and the same on every call."""
    order = np.random.default_rng(0).permutation(count)
    others = np.empty(count, np.intp)
    others[order] = np.roll(order, 1)
    return others


def _distance(one: Images, two: Images) -> float:
    """Mean ‖a − b‖₁ of images (N, S, S, 3), per pixel and channel, where the values are in [−1, 1]."""
    return float(np.mean([np.abs(a.astype(np.float32) - b).mean() for a, b in zip(one, two, strict=True)])) / 127.5
