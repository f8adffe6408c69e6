"""From photos of any kind and size to landmarks in their own pixels: which squares are looked at, and the way back.

This module knows no detector: it asks a `Sight` for the landmarks of crops.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from brule.data import photos
from brule.data.crop import Framing, Pixels, Points, Square, around, centred, cut_picture, to_pixels
from brule.data.photos import Photo
from brule.detector.finding import SIDES, search
from brule.detector.plausibility import Floats, Judge, Look, views
from brule.errors import BruleError

Box = Sequence[float] | npt.NDArray[Any]
"""The box around the landmarks of a photo, in its pixels: left and upper edge, width and height."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The landmarks of one photo."""

    points: Points
    """(K, 2), (x, y) in pixels of the photo as it is displayed (its EXIF orientation applied), 0 at the centre of the
    first pixel. To draw in continuous coordinates, where 0 is the edge of that pixel, add ½."""
    confidence: Floats
    """(K,) in [0, 1], see `confidence`."""
    names: tuple[str, ...]
    """(K) the names of the landmarks."""
    plausibility: float | None = None
    """In [0, 1]: how much this answer is like those on what the detector was trained on. Below ½, the threshold, it is
    unlike nearly all of them. None: the detector's file is older and does not know."""


class Sight(NamedTuple):
    """How the landmarks of crops are found, and which crops are wanted."""

    look: Look
    size: int
    """S, the side of a crop in pixels."""
    framing: Framing
    """How much larger than the landmarks' box a crop is."""
    names: tuple[str, ...]
    """(K) the names of the landmarks."""
    judge: Judge | None = None
    """Says how plausible an answer is. Without one, nothing can be searched for."""


class _Crop(NamedTuple):
    square: Square
    pixels: Pixels


class _Asked(NamedTuple):
    """A photo, what errors call it, and the box that the caller knows."""

    photo: Photo
    name: str
    box: Box | None


class _Found(NamedTuple):
    crop: _Crop
    units: Floats
    confidence: Floats

    def points(self) -> Points:
        return to_pixels(self.units.astype(np.float64), self.crop.square)


_LOOKS = 3
"""A photo is looked at again at most this many times."""
_AT_REST = 0.02
"""Two squares count as the same if they differ by less than this share of their side."""


def confidence(L: Tensor) -> Tensor:
    """c = min(1, 1/σ), where σ² = ½ E_L‖p − X_L‖² and p runs over the pixels of a map.

    L: (B, K, D, D) of mass 1 per channel → (B, K) in [0, 1]. σ is the width of the heatmap around its mean X_L, in
    heatmap pixels. The Gaussian L_sp that training aims for has c = 1, a map twice as wide ½, and a uniform one
    √(12/(D² − 1)). The confidence says how sharply a landmark is seen, not how likely it is to be right.
    """
    pixels = torch.arange(L.shape[-1], device=L.device, dtype=L.dtype)
    axes = torch.stack((L.sum(-2), L.sum(-1)))  # (2, B, K, D), along x and along y
    mean = (axes * pixels).sum(-1, keepdim=True)
    variance = (axes * (pixels - mean).square()).sum(-1).mean(0)
    return variance.clamp(min=1).rsqrt()


def predict(
    sight: Sight,
    images: Photo | Iterable[Photo],
    boxes: Box | Iterable[Box | None] | None,
    refine: bool | None,
    batch_size: int,
) -> Prediction | list[Prediction]:
    """The landmarks of one photo, or a list for several. Raises the BruleError of the first photo that has none."""
    one = isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable)
    one |= isinstance(images, np.ndarray) and images.ndim != 4
    every: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
    known: list[Any] = [boxes] if one else list(boxes) if isinstance(boxes, Iterable) else [None] * len(every)
    if len(known) != len(every):
        raise BruleError(f"boxes: {len(known)} for {len(every)} images; give each image its box, or None")
    found = []
    for answer in predictions(sight, every, known, refine, batch_size):
        if isinstance(answer, BruleError):
            raise answer
        found.append(answer)
    return found[0] if one else found


def predictions(
    sight: Sight, images: Iterable[Photo], boxes: Iterable[Box | None], refine: bool | None, batch_size: int
) -> Iterator[Prediction | BruleError]:
    """The landmarks of each photo in turn, or the error that says why it has none.

    At most `batch_size` photos are in memory at once. The first square is framed like the training crops around the
    box, if there is one. If there is none, refine = None searches the whole photo for it, where the sight has a judge;
    otherwise it is the largest one in the middle. Unless `refine` is False, the detector then looks again at the square
    around the points just found, until it stops moving. If that square cannot be cut, because it has no width or lies
    too far outside, the last answer stands. A judge needs other views of the last crop; with refine = None the points
    are the mean over these and the crop itself.
    """
    asked = (_Asked(photo, _name(photo, i), box) for i, (photo, box) in enumerate(zip(images, boxes, strict=False)))
    while batch := list(islice(asked, batch_size)):
        found = _found(sight, [_first(sight, each, refine is None) for each in batch])
        for _ in range(0 if refine is False else _LOOKS):
            found = _found(sight, [_closer(sight, *pair) for pair in zip(batch, found, strict=True)])
        judged = _judged(sight, [each for each in found if isinstance(each, _Found)], refine is None)
        for each, answer in zip(batch, found, strict=True):
            yield answer if isinstance(answer, BruleError) else _finite(next(judged), each.name)


def _finite(answer: Prediction, name: str) -> Prediction | BruleError:
    """Weights that are sound one by one may still overflow together."""
    if np.isfinite(answer.points).all() and np.isfinite(answer.confidence).all():
        return answer
    return BruleError(f"{name}: the detector gives no finite answer; its weights are damaged, so give another detector")


def _first(sight: Sight, asked: _Asked, searching: bool) -> _Crop | BruleError:
    try:
        if asked.box is not None:
            return _crop(asked, _boxed(asked.box, sight.framing, asked.name), sight.size)
        return _crop(asked, _searched(sight, asked, sight.judge) if searching and sight.judge else None, sight.size)
    except BruleError as error:
        return error


def _searched(sight: Sight, asked: _Asked, judge: Judge) -> Square:
    """Where in the photo the object is. It is read as finely as the smallest squares need."""
    with photos.picture(asked.photo, asked.name, None, math.ceil(sight.size / min(SIDES))) as read:
        found = search(sight.look, judge, sight.framing, sight.size, read.image)
        return Square(*(value * read.factor for value in found))


def _judged(sight: Sight, found: Sequence[_Found], averaged: bool) -> Iterator[Prediction]:
    """Each answer with its plausibility, where there is a judge; and then, if wanted, averaged over the views."""
    if sight.judge is None or not found:
        for each in found:
            yield Prediction(each.points(), each.confidence, sight.names)
        return
    seen = views(sight.look, np.stack([each.crop.pixels for each in found]), sight.judge.flip)
    units, sure = (np.stack([getattr(each, name) for each in found]) for name in ("units", "confidence"))
    plausible = sight.judge.plausibility(units, sure, seen).tolist()
    if averaged:
        units = np.concatenate((units[None], seen)).mean(0)
    for each, mean, value in zip(found, units, plausible, strict=True):
        yield Prediction(each._replace(units=mean).points(), each.confidence, sight.names, value)


def _closer(sight: Sight, asked: _Asked, found: _Found | BruleError) -> _Crop | _Found | BruleError:
    """The crop around what was found. If its square no longer moves or cannot be cut, what was found."""
    if isinstance(found, BruleError):
        return found
    try:
        square = around(found.points(), *sight.framing)
        if np.abs(np.subtract(square, found.crop.square)).max() < _AT_REST * square.side:
            return found
        return _crop(asked, square, sight.size)
    except BruleError:
        return found


def _crop(asked: _Asked, square: Square | None, size: int) -> _Crop:
    with photos.picture(asked.photo, asked.name, square.side if square else None, size) as picture:
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
        raise BruleError(
            f"{name}: the box {box} is not a valid box; give x, y, width and height in pixels, with a width above 0"
        )
    return around(corners, *framing)


def _found(sight: Sight, crops: Sequence[_Crop | _Found | BruleError]) -> list[_Found | BruleError]:
    """The crops replaced by what is found on them. Everything else stays in its place."""
    whole = [crop for crop in crops if isinstance(crop, _Crop)]
    answers = iter(_located(sight, whole) if whole else ())
    return [next(answers) if isinstance(crop, _Crop) else crop for crop in crops]


def _located(sight: Sight, crops: Sequence[_Crop]) -> Iterator[_Found]:
    units, sure = sight.look(np.stack([crop.pixels for crop in crops]))
    for answer in zip(crops, units, sure, strict=True):
        yield _Found(*answer)


def _name(photo: Photo, index: int) -> str:
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else f"image {index}"
