"""Landmarks through the frames of a video: where to look in the next one, and how the answers are made calm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from brule.detector import Detector
from brule.errors import BruleError
from brule.prediction import Box, Prediction
from brule.smoothing import OneEuro
from brule.video import Frame

_APART = 0.25
"""Mean distance of two answers, in widths of the landmarks, beyond which they cannot mean the same object."""


def follow(
    detector: Detector, frames: Iterable[Frame], box: Box | None, refine: bool, smooth: bool
) -> Iterator[tuple[Frame, Prediction]]:
    """Each frame with its landmarks.

    Without `refine` every frame is looked at by itself, in its middle or at the box. With it, around the points of the
    frame before, which is nearer to the crops of training, and anew, as `Detector.predict` does with `refine`: where
    the two cannot mean the same object, one of them has lost it, and the surer holds. `smooth`: by the one-euro filter,
    which begins anew where the points jump.
    """
    calm, before = OneEuro(), None
    for frame in frames:
        try:
            found = detector.predict(frame.pixels, box, refine)
        except BruleError as error:  # which knows no better name
            raise BruleError(str(error).replace("image 0", f"frame {frame.number}", 1)) from None
        if before is not None:
            found = _agreed(_near(detector, frame, before), found) if refine else found
            calm = OneEuro() if _elsewhere(before, found) else calm
        before = found
        yield frame, replace(found, points=calm(found.points, frame.time)) if smooth else found


def _near(detector: Detector, frame: Frame, before: Prediction) -> Prediction | None:
    """What is found around the points of the frame before; None where no square can be cut there."""
    low, size = before.points.min(0), np.ptp(before.points, axis=0)
    try:
        found: Prediction = detector.predict(frame.pixels, [*low, *size])
        return found
    except BruleError:
        return None


def _agreed(near: Prediction | None, anew: Prediction) -> Prediction:
    """Near, unless they disagree and `anew` is surer. Where they agree sharpness decides nothing: a view from further
    off is sharper, in pixels of its map, and less exact."""
    if near is None:
        return anew
    lost = _elsewhere(near, anew) and anew.confidence.mean() > near.confidence.mean()
    return anew if lost else near


def _elsewhere(one: Prediction, other: Prediction) -> bool:
    apart = np.linalg.norm(one.points - other.points, axis=-1).mean()
    return bool(apart > _APART * np.ptp(other.points[:, 0]))
