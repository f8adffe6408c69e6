"""What the page sends: the bytes of a photo, read from memory and never written to the disk."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import PurePath

from PIL import Image, UnidentifiedImageError

from brule.data import photos
from brule.errors import BruleError

LARGEST = 40 * 2**20
"""Bytes of a photo, at most."""
SHOWN = 1600
"""Pixels of the longer side of a picture that is sent back, at most."""
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
_UNNAMED = "photo"
_LONGEST_NAME = 120


def named(name: str) -> str:
    """A file's name as sentences and tables show it: without folders, on one line, of a bearable length."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in PurePath(name).name).split())
    return plain[-_LONGEST_NAME:] or _UNNAMED


def read(data: bytes, name: str) -> Image.Image:
    """The photo as `brule.photos` sees it: RGB, upright. Raises BruleError, which calls it `name`, where it is none.

    Only formats that PIL decodes by itself are tried: some others would start a program on bytes from a browser.
    """
    if not data:
        raise BruleError(f"{name}: is empty; choose a photo")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size: photos beyond 179 megapixels are refused
            Image.init()
            image = Image.open(io.BytesIO(data), formats=[kind for kind in _FORMATS if kind in Image.OPEN])
    except UnidentifiedImageError:
        raise BruleError(f"{name}: is no image that can be read; choose a JPEG, PNG, WebP, TIFF or the like") from None
    except Exception as error:  # on a mangled file PIL's decoders raise whatever they stumble over
        raise BruleError(f"{name}: cannot be read ({' '.join(str(error).split())}); choose another image") from None
    return photos.picture(image, name, None, SHOWN).image


def data_url(image: Image.Image, longest: int = SHOWN) -> str:
    """The picture for the page, reduced where it is larger: a small one exactly, as PNG, others as JPEG."""
    reduced = image.copy()
    reduced.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream, small = io.BytesIO(), max(reduced.size) <= 256
    reduced.save(stream, "PNG") if small else reduced.save(stream, "JPEG", quality=92, subsampling=0)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
