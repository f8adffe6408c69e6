"""One crop protocol for every source: from a landmark box to a square, from a square to pixels.

Coordinates. A `.pts` counts pixels from 1; we store p, one less, so p = 0 is the CENTRE of the first pixel. A square
is (centre x, centre y, side) in continuous image coordinates: 0 is the EDGE of the first pixel, p lies at p + ½.
Crop units are [0, 1]² over the square: u = (p + ½ - centre)/side + ½, the half-pixel convention used everywhere.
"""

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from brule.errors import BruleError

Points = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_ORIENTATION = 274  # the EXIF tag


class Square(NamedTuple):
    """A square of an image, in continuous image coordinates (0 at the edge of the first pixel, y down)."""

    x: float
    y: float
    side: float


def around(points: Points, fill: float, lift: float) -> Square:
    """The protocol's square for landmarks (K, 2): the tight box is `fill` of its side wide, its centre is moved up by
    `lift` box widths (DVE: 52/70.6 and 2/52).

    A box taller than that side (no face of 300-W has one) widens it to the box's height. Raises BruleError where all
    landmarks stand above one another.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = (high - low).tolist()
    if not width > 0:
        raise BruleError("the landmarks have no width, so no crop can be cut; check their coordinates")
    x, y = ((low + high) / 2 + 0.5).tolist()
    return Square(x, y - lift * width, max(width / fill, height))


def to_units(points: Points, square: Square) -> Points:
    """Landmarks (K, 2) in pixels → crop units."""
    corner = np.array([square.x, square.y]) - square.side / 2
    return (points + 0.5 - corner) / square.side


def centred(width: int, height: int) -> Square:
    """The largest square in the middle of an image."""
    return Square(width / 2, height / 2, float(min(width, height)))


def cut(image: Image.Image, square: Square, size: int) -> Pixels:
    """Resample a square of an RGB image to (size, size, 3) uint8: antialiased bicubic, borders reflected.

    Raises BruleError where the square reaches further out than one reflection of the image.
    """
    half = square.side / 2
    left, top, right, bottom = square.x - half, square.y - half, square.x + half, square.y + half
    if left < 0 or top < 0 or right > image.width or bottom > image.height:
        pad = [max(0, math.ceil(over)) for over in (-left, -top, right - image.width, bottom - image.height)]
        if max(pad[0], pad[2]) > image.width or max(pad[1], pad[3]) > image.height:
            raise BruleError("the face lies outside the image; check that the landmarks are in this image's pixels")
        spread = ((pad[1], pad[3]), (pad[0], pad[2]), (0, 0))
        image = Image.fromarray(np.pad(np.asarray(image), spread, mode="symmetric"))
        left, right, top, bottom = left + pad[0], right + pad[0], top + pad[1], bottom + pad[1]
    box = (left, top, min(right, image.width), min(bottom, image.height))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def cut_file(path: Path, square: Square | None, size: int) -> Pixels:
    """`cut` from an image file, upright as its EXIF orientation says. None: the largest centred square.

    Raises BruleError naming the file where it is missing, is no whole image, or does not hold the square.
    """
    try:
        with Image.open(path) as image:
            width = image.width
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            side = square.side if square else min(image.size)
            if upright and side >= 4 * size:
                # JPEG decodes at 1/2, 1/4 or 1/8 for a fraction of the cost; twice the target is kept for the filter.
                image.draft(image.mode, (int(image.width * 2 * size / side), int(image.height * 2 * size / side)))
            factor = round(width / image.width)
            image.load()
            pixels = _rgb(image if upright else ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise BruleError(f"{path}: the image is missing; run the download stage again") from None
    except UnidentifiedImageError:
        raise BruleError(f"{path}: is no image that can be read; replace or remove the file") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise BruleError(f"{path}: cannot be read ({error}); replace or remove the file") from None
    if square is None:
        return cut(pixels, centred(*pixels.size), size)
    try:
        return cut(pixels, Square(*(value / factor for value in square)), size)
    except BruleError as error:
        raise BruleError(f"{path}: {error}") from None


def _rgb(image: Image.Image) -> Image.Image:
    """Grey and palette expanded, 16 bit reduced to 8, transparency laid on white."""
    if image.mode.startswith("I"):  # 16 bit and more: PIL's own conversion clips at 255 instead of scaling
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.rint(values.clip(0, 65535) / 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
