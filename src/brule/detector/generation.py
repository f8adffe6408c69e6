"""Images by a GAN, with the landmarks that they were drawn from, and how far a detector finds these from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.data.crop import Framing, around, to_units
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.maths import metrics

BATCH = 64
"""Images that are drawn together."""
LEAST = 0.05
"""The share of images that must be kept. Below it, drawing goes on for too long."""

Shapes = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """An image with its landmarks."""

    pixels: npt.NDArray[np.uint8]
    """(S, S, 3)."""
    points: Shapes
    """(K, 2) in crop units: what G was asked to draw."""
    error: float
    """NME in percent: of the detector's landmarks on the image, against these."""


def draw(
    gan: Gan, detector: Detector, shapes: Shapes, count: int, seed: int, truncation: float, within: float | None = None
) -> Iterator[Drawn]:
    """`count` images G(X, S_o(z)), X a random one of shapes (M, K, 2) in crop units; the same for the same seed.

    truncation: how far the styles go from their mean, see `Gan.styles`. within: images whose error is above it are
    left out, and others drawn. Raises BruleError if fewer than one in twenty would be kept.
    """
    random = np.random.default_rng(seed)
    kept, drawn, limit = 0, 0, np.inf if within is None else within
    while kept < count:
        points = shapes[random.integers(len(shapes), size=BATCH)]
        images = gan.images(points, gan.styles(BATCH, truncation, int(random.integers(2**63))), BATCH)
        found = detector.points(images, BATCH).astype(np.float64)
        errors = metrics.nme(found, points, metrics.normaliser(points, detector.scheme.normaliser))
        good = np.flatnonzero(~(errors > limit))
        for k in good[: count - kept]:
            yield Drawn(images[k], points[k], float(errors[k]))
        kept, drawn = kept + len(good), drawn + BATCH
        if kept < LEAST * drawn and drawn >= 4 * BATCH:
            raise BruleError(
                f"--within {limit:g}: the detector agrees on only {kept} of the {drawn} images drawn so far; "
                "allow it more, or leave the option out"
            )


def framed(shapes: npt.NDArray[Any], framing: Framing, origin: Path) -> Shapes:
    """Shapes (M, K, 2) in any unit → crop units, placed as the training crops were. Errors name the `origin`."""
    try:
        return np.stack([to_units(shape, around(shape, *framing)) for shape in shapes])
    except BruleError as error:
        raise BruleError(f"{origin}: {error}") from None
