"""One crop protocol for every source: from a landmark box to a square, and from a square to pixels.

Coordinates. A `.pts` counts pixels from 1; we store p, one less, so p = 0 is the CENTRE of the first pixel. A square
is (centre x, centre y, side) in continuous image coordinates: 0 is the EDGE of the first pixel, p lies at p + ½.
Crop units are [0, 1]² over the square: u = (p + ½ - centre)/side + ½, the half-pixel convention used everywhere.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from brule.data import photos
from brule.data.photos import Picture
from brule.errors import BruleError

Points = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


VAST = 2**25
"""Pixels. A larger photo is cut down to what the square needs before its border is reflected, to spare the memory."""


class Square(NamedTuple):
    """A square of an image, in continuous image coordinates (0 at the edge of the first pixel, y down)."""

    x: float
    y: float
    side: float


class Framing(NamedTuple):
    """How landmarks stand in a crop."""

    fill: float
    """Width of the landmark box over the width of the square."""
    lift: float
    """The square's centre is moved up by this share of the box's width."""
    height: float = 1.0
    """Height of the landmark box over that of the square, at most."""


DVE = Framing(0.737, 0.0385)
"""The protocol of DVE, 52/70.6 and 2/52, which `prepare` follows by default."""


def around(points: Points, fill: float, lift: float, height: float = 1.0) -> Square:
    """The protocol's square for landmarks (K, 2): their box takes up `fill` of its width, and its centre lies `lift`
    box widths above the box's (DVE: 52/70.6 and 2/52).

    A box that would take up more than `height` of the square's height (no face in 300-W is taller than the square)
    widens it. Raises BruleError if all landmarks lie on one vertical line.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    width, tall = (high - low).tolist()
    if not width > 0:
        raise BruleError("the landmarks have no width, so no crop can be cut; check their coordinates")
    x, y = ((low + high) / 2 + 0.5).tolist()
    return Square(x, y - lift * width, max(width / fill, tall / height))


def to_units(points: Points, square: Square) -> Points:
    """Landmarks (K, 2) in pixels → crop units."""
    corner = np.array([square.x, square.y]) - square.side / 2
    return (points + 0.5 - corner) / square.side


def to_pixels(units: Points, square: Square) -> Points:
    """The inverse of `to_units`: landmarks (K, 2) in crop units → pixels."""
    corner = np.array([square.x, square.y]) - square.side / 2
    return units * square.side + corner - 0.5


def centred(width: int, height: int) -> Square:
    """The largest square in the middle of an image."""
    return Square(width / 2, height / 2, float(min(width, height)))


def cut(image: Image.Image, square: Square, size: int) -> Pixels:
    """Resample a square of an RGB image to (size, size, 3) uint8: antialiased bicubic, borders reflected.

    Raises BruleError if the square reaches further out than one reflection of the image.
    """
    half = square.side / 2
    left, top, right, bottom = square.x - half, square.y - half, square.x + half, square.y + half
    if left < 0 or top < 0 or right > image.width or bottom > image.height:
        pad = [max(0, math.ceil(over)) for over in (-left, -top, right - image.width, bottom - image.height)]
        if max(pad[0], pad[2]) > image.width or max(pad[1], pad[3]) > image.height:
            if 0 <= square.x <= image.width and 0 <= square.y <= image.height:
                raise BruleError(
                    "the square around the object reaches too far beyond the image; add a border to the image, "
                    "or correct the landmarks or the box"
                )
            raise BruleError(
                "the object lies outside the image; check that its landmarks or box are in this image's pixels"
            )
        if (image.width + pad[0] + pad[2]) * (image.height + pad[1] + pad[3]) > VAST:
            x, y = (_needed(*axis, size) for axis in ((left, right, image.width), (top, bottom, image.height)))
            image = image.crop((x[0], y[0], x[1], y[1]))
            left, right, top, bottom = left - x[0], right - x[0], top - y[0], bottom - y[0]
        spread = ((pad[1], pad[3]), (pad[0], pad[2]), (0, 0))
        image = Image.fromarray(np.pad(np.asarray(image), spread, mode="symmetric"))
        left, right, top, bottom = left + pad[0], right + pad[0], top + pad[1], bottom + pad[1]
    box = (left, top, min(right, image.width), min(bottom, image.height))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _needed(start: float, end: float, length: int, size: int) -> tuple[int, int]:
    """The pixels, of so many in a row, on which the stretch from `start` to `end` depends when `size` are made of it.

    The filter sees two of its own pixels beyond either end, and what is reflected begins at the border.
    """
    filtered = 2 * max(1.0, (end - start) / size) + 1
    first = 0 if start < 0 else math.floor(start - filtered)
    last = length if end > length else math.ceil(end + filtered)
    first, last = min(first, math.floor(2 * length - end - filtered)), max(last, math.ceil(-start + filtered))
    return max(0, first), min(length, last)


def cut_picture(picture: Picture, square: Square | None, size: int) -> Pixels:
    """`cut` from a photo that was read. The square is in the photo's own pixels; None is the largest centred one."""
    if square is None:
        return cut(picture.image, centred(*picture.image.size), size)
    return cut(picture.image, Square(*(value / picture.factor for value in square)), size)


def cut_file(path: Path, square: Square | None, size: int) -> Pixels:
    """`cut` from an image file, turned upright by its EXIF orientation. None is the largest centred square.

    Raises BruleError naming the file if it is missing, is not a whole image, or does not hold the square.
    """
    with photos.read(path, square.side if square else None, size) as picture:
        try:
            return cut_picture(picture, square, size)
        except BruleError as error:
            raise BruleError(f"{path}: {error}") from None
