"""Where in a photo the object is: squares of several sizes are looked at all over it.

From coarse to fine. At every size the best few answers, by a first opinion, look again around what they found, so that
each comes to rest, and are then judged. As soon as some are plausible, finer squares are not looked at, and of these
answers the one wins of which most can be seen: beyond the border an image is reflected, where half an object and its
reflection may look like a whole one. If none ever is plausible, the one that is most so wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from brule.data.crop import Framing, Pixels, Points, Square, around, centred, cut, to_pixels
from brule.detector.plausibility import THRESHOLD, Floats, Judge, Look, views
from brule.errors import BruleError

SIDES = (1.0, 0.65, 0.42, 0.27, 0.18)
"""Sides of the squares, over the shorter side of the photo: an object is at most 1.3 times too small or too large."""
_STEP = 0.4
"""From one square to the next, over their side, at most."""
_BEYOND = 0.2
"""By how much of its side a square may lie outside the photo."""
_BEST = 3
"""Answers of one size that look again and are judged."""
_LOOKS = 2
"""How often they look again."""
_SAME = 0.25
"""Squares that differ by less than this share of their side show the same object."""
_FINEST = 0.25
"""A square of less than this many pixels for each of the crop shows nothing."""
_MOST = 600
"""Squares of one size, at most: a strip three times as long as wide is not searched for its smallest objects."""
_BATCH = 64


class _Seen(NamedTuple):
    """What was found in a square."""

    square: Square
    pixels: Pixels
    units: Floats
    confidence: Floats
    doubt: float

    def points(self) -> Points:
        return to_pixels(self.units.astype(np.float64), self.square)


def search(look: Look, judge: Judge, framing: Framing, size: int, photo: Image.Image) -> Square:
    """The square around the most plausible object of a photo, in its pixels. size: S, the side of a crop in pixels."""
    best, most = centred(*photo.size), -1.0
    for share in SIDES:
        side = share * min(photo.size)
        squares = _grid(*photo.size, side)
        if share < 1 and (side < _FINEST * size or len(squares) > _MOST):
            break
        squares = squares[:: math.ceil(len(squares) / _MOST)]  # of a long strip not all, but from all over it
        factor = max(1, int(side / (2 * size)))  # twice the crop's resolution is all that is needed
        image = photo.reduce(factor) if factor > 1 else photo
        found = _seen(look, judge, size, image, [Square(*(value / factor for value in square)) for square in squares])
        rivals = _different(found, framing)
        for _ in range(_LOOKS):
            rivals = _again(look, judge, framing, size, image, rivals)
        if not rivals:
            continue
        seen = views(look, np.stack([each.pixels for each in rivals]), judge.flip)
        units, confidence = (np.stack([getattr(each, name) for each in rivals]) for name in ("units", "confidence"))
        plausible = judge.plausibility(units, confidence, seen)
        visible = [
            _visible(each.square, image) if p >= THRESHOLD else p - 1 for each, p in zip(rivals, plausible, strict=True)
        ]
        chosen = int(np.argmax(visible))
        if plausible[chosen] > most:
            most, best = float(plausible[chosen]), Square(*(value * factor for value in rivals[chosen].square))
        if most >= THRESHOLD:
            break
    return best


def _grid(width: int, height: int, side: float) -> list[Square]:
    """Squares of this side, evenly spread over the photo and a little beyond its border, one of them in the middle."""
    rows = [list(_spread(length, side)) for length in (height, width)]
    return [Square(x, y, side) for y in rows[0] for x in rows[1]]


def _spread(length: int, side: float) -> Iterator[float]:
    reach = max(0.0, (length - side) / 2 + _BEYOND * side)
    steps = math.ceil(reach / (_STEP * side))
    for k in range(-steps, steps + 1):
        yield length / 2 + (reach * k / steps if steps else 0.0)


def _seen(look: Look, judge: Judge, size: int, image: Image.Image, squares: Sequence[Square]) -> list[_Seen]:
    """What is found in those squares that can be cut."""
    crops = []
    for square in squares:
        try:
            crops.append((square, cut(image, square, size)))
        except BruleError:
            continue
    found = []
    for start in range(0, len(crops), _BATCH):
        batch = crops[start : start + _BATCH]
        units, confidence = look(np.stack([pixels for _, pixels in batch]))
        doubts = judge.doubts(units, confidence)
        found += [
            _Seen(*crop, *answer) for crop, *answer in zip(batch, units, confidence, doubts.tolist(), strict=True)
        ]
    return found


def _different(found: Sequence[_Seen], framing: Framing) -> list[_Seen]:
    """The best few that show different objects."""
    chosen: dict[Square, _Seen] = {}
    for each in sorted(found, key=lambda each: each.doubt):
        square = _around(each, framing)
        if square and math.isfinite(each.doubt) and not any(_apart(square, other) < _SAME for other in chosen):
            chosen[square] = each
        if len(chosen) == _BEST:
            break
    return list(chosen.values())


def _again(
    look: Look, judge: Judge, framing: Framing, size: int, image: Image.Image, rivals: Sequence[_Seen]
) -> list[_Seen]:
    """The rivals after another look, around what they found; those whose square can no longer be cut fall out."""
    squares = [square for each in rivals if (square := _around(each, framing))]
    return _seen(look, judge, size, image, squares)


def _around(seen: _Seen, framing: Framing) -> Square | None:
    try:
        return around(seen.points(), *framing)
    except BruleError:
        return None


def _visible(square: Square, image: Image.Image) -> float:
    """How much of a square lies in the image, in its pixels."""
    half = square.side / 2
    width = min(square.x + half, image.width) - max(square.x - half, 0)
    return max(0.0, width) * max(0.0, min(square.y + half, image.height) - max(square.y - half, 0))


def _apart(one: Square, other: Square) -> float:
    return float(np.abs(np.subtract(one, other)).max() / max(one.side, other.side))
