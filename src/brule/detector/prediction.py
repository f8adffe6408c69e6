"""From photos of any kind and size to landmarks in their own pixels: which square is cut, and the way back."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from brule.data import photos
from brule.data.crop import Framing, Pixels, Points, Square, around, centred, cut_picture, to_pixels
from brule.data.photos import Photo
from brule.errors import BruleError
from brule.maths import heatmaps

if TYPE_CHECKING:
    from brule.detector.model import Detector


Box = Sequence[float] | npt.NDArray[Any]
"""The landmarks' box in a photo: its left and upper edge, its width and height, in the photo's pixels."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The landmarks of one photo."""

    points: Points
    """(K, 2), (x, y) in pixels of the photo as it is displayed, its EXIF orientation applied: 0 is the centre of the
    first pixel. To draw in continuous coordinates, whose 0 is that pixel's edge, add ½."""
    confidence: npt.NDArray[np.float32]
    """(K,) in [0, 1], see `confidence`."""
    names: tuple[str, ...]
    """(K) the landmarks' names."""


class _Crop(NamedTuple):
    square: Square
    pixels: Pixels


class _Asked(NamedTuple):
    """A photo, its name in sentences, and the box that the caller knows."""

    photo: Photo
    name: str
    box: Box | None


class _Found(NamedTuple):
    points: Points
    confidence: npt.NDArray[np.float32]
    square: Square


_LOOKS = 3
"""So often a photo is looked at again, unless its square has come to rest before."""
_AT_REST = 0.02
"""A square that moves and grows by less, in its own sides, is the same square."""


def confidence(L: Tensor) -> Tensor:
    """c = min(1, 1/σ), where σ² = ½ E_L‖p − X_L‖² and p runs over the pixels of a map.

    L: (B, K, D, D) of mass 1 per channel → (B, K) in [0, 1]. σ is the width of the heatmap about its mean X_L, in
    heatmap pixels: that of the Gaussian L_sp which training asks for gives 1, a map twice as wide ½, an even one
    √(12/(D² − 1)). It says how sharply the landmark is seen; it is no probability that it is right.
    """
    pixels = torch.arange(L.shape[-1], device=L.device, dtype=L.dtype)
    axes = torch.stack((L.sum(-2), L.sum(-1)))  # (2, B, K, D), along x and along y
    mean = (axes * pixels).sum(-1, keepdim=True)
    variance = (axes * (pixels - mean).square()).sum(-1).mean(0)
    return variance.clamp(min=1).rsqrt()


def predict(
    detector: Detector,
    images: Photo | Iterable[Photo],
    boxes: Box | Iterable[Box | None] | None,
    refine: bool,
    batch_size: int,
) -> Prediction | list[Prediction]:
    """`Detector.predict`: one photo or several; the first that cannot be answered raises its BruleError."""
    one = isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable)
    one |= isinstance(images, np.ndarray) and images.ndim != 4
    every: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
    known: list[Any] = [boxes] if one else list(boxes) if isinstance(boxes, Iterable) else [None] * len(every)
    if len(known) != len(every):
        raise BruleError(f"boxes: {len(known)} for {len(every)} images; give each image its box, or None")
    found = []
    for answer in predictions(detector, every, known, refine, batch_size):
        if isinstance(answer, BruleError):
            raise answer
        found.append(answer)
    return found[0] if one else found


def predictions(
    detector: Detector, images: Iterable[Photo], boxes: Iterable[Box | None], refine: bool, batch_size: int
) -> Iterator[Prediction | BruleError]:
    """For each photo in turn its landmarks, or the sentence that says why it has none; `batch_size` in memory at once.

    The square that is cut is framed as the training crops were: around the box where one is given, else the largest in
    the middle of the photo. `refine`: again and again, at the square around the points of the look before, until that
    square is at rest; where it cannot be cut, for it has no width or lies too far outside, the answer stands.
    """
    asked = (_Asked(photo, _name(photo, i), box) for i, (photo, box) in enumerate(zip(images, boxes, strict=False)))
    while batch := list(islice(asked, batch_size)):
        found = _found(detector, [_first(detector, each) for each in batch])
        for _ in range(_LOOKS if refine else 0):
            found = _found(detector, [_closer(detector, *pair) for pair in zip(batch, found, strict=True)])
        for answer in found:
            if isinstance(answer, BruleError):
                yield answer
            else:
                yield Prediction(answer.points, answer.confidence, detector.scheme.names)


def _first(detector: Detector, asked: _Asked) -> _Crop | BruleError:
    try:
        square = None if asked.box is None else _boxed(asked.box, detector.framing, asked.name)
        return _crop(asked, square, detector.image_size)
    except BruleError as error:
        return error


def _closer(detector: Detector, asked: _Asked, found: _Found | BruleError) -> _Crop | _Found | BruleError:
    """The crop around what was found; where that is at rest, or no crop can be cut, what was found."""
    if isinstance(found, BruleError):
        return found
    try:
        square = around(found.points, *detector.framing)
        if np.abs(np.subtract(square, found.square)).max() < _AT_REST * square.side:
            return found
        return _crop(asked, square, detector.image_size)
    except BruleError:
        return found


def _crop(asked: _Asked, square: Square | None, size: int) -> _Crop:
    picture = photos.picture(asked.photo, asked.name, square.side if square else None, size)
    square = square or centred(*picture.size)
    try:
        return _Crop(square, cut_picture(picture, square, size))
    except BruleError as error:
        raise BruleError(f"{asked.name}: {error}") from None


def _boxed(box: Box, framing: Framing, name: str) -> Square:
    """The square around a box, as if its corners were all the landmarks."""
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        x = y = width = height = math.nan
    corners = np.array([[x, y], [x + width, y + height]])
    if not np.isfinite(corners).all() or not width > 0 or not height >= 0:
        raise BruleError(f"{name}: the box {box} is none; give x, y, width and height in pixels, the width above 0")
    return around(corners, *framing)


def _found(detector: Detector, crops: Sequence[_Crop | _Found | BruleError]) -> list[_Found | BruleError]:
    """The answers for the crops; what is none stays in its place."""
    whole = [crop for crop in crops if isinstance(crop, _Crop)]
    answers = iter(_located(detector, whole) if whole else ())
    return [next(answers) if isinstance(crop, _Crop) else crop for crop in crops]


def _located(detector: Detector, crops: Sequence[_Crop]) -> Iterator[_Found]:
    L = detector.log_maps(detector.tensor(np.stack([crop.pixels for crop in crops]))).exp()
    units = heatmaps.coordinates(L).cpu().numpy().astype(np.float64)
    for crop, points, sure in zip(crops, units, confidence(L).cpu().numpy(), strict=True):
        yield _Found(to_pixels(points, crop.square), sure, crop.square)


def _name(photo: Photo, index: int) -> str:
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else f"image {index}"
