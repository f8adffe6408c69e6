"""Photos of every kind, from files and from memory, as upright RGB: for training and for prediction alike.

This is the one door of files that somebody else made. It admits the formats that PIL decodes itself (for PostScript it
would start a program), and it counts the bytes that a photo will take before it decodes it: a small file can hold a
vast photo.
"""

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from brule.errors import BruleError

Photo = str | os.PathLike[str] | npt.NDArray[Any] | Image.Image
"""A file; pixels (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16; or a PIL image."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""What a photo may be, whatever the file is called. (The header of an ICO can lie about its size, so it is none.)"""
LIMIT = 2**30
"""Bytes that all photos in memory take together, at most, while they are decoded and used."""
_LOADING = {"AVIF": 10, "JPEG2000": 20, "PPM": 12, "TIFF": 8, "WEBP": 16}
"""Bytes a pixel that decoding takes (measured). PIL keeps at most 4, and most formats need nothing beside them."""
_PROGRESSIVE = 6
"""Bytes a pixel of the whole photo that a progressive JPEG needs besides, at any resolution."""
_STRIP = 2**17
"""Pixels that are converted at a time."""
_ORIENTATION = 274  # the EXIF tag
_MEND = "replace or remove the file"


class Picture(NamedTuple):
    """A photo that was read."""

    image: Image.Image
    """RGB, turned upright by its EXIF orientation."""
    size: tuple[int, int]
    """Width and height of the photo as it is displayed, in its own pixels."""
    factor: int
    """How many pixels of the photo, along each side, one pixel of `image` stands for."""


class _Memory:
    """A number of bytes that threads share: who wants more than is free waits until others are done."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._returned = threading.Condition()
        self._mine = threading.local()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold so many bytes. Whoever holds some already does not wait again, since it might wait for itself."""
        if getattr(self._mine, "held", False):
            yield
            return
        with self._returned:
            self._returned.wait_for(lambda: self._free >= size)
            self._free -= size
        self._mine.held = True
        try:
            yield
        finally:
            self._mine.held = False
            with self._returned:
                self._free += size
                self._returned.notify_all()


_MEMORY = _Memory(LIMIT)
_OPENING = threading.Lock()
"""Python's filters of warnings belong to all threads."""


@contextmanager
def read(
    file: Path | BinaryIO, side: float | None, target: int | None, name: str | None = None, mend: str = _MEND
) -> Iterator[Picture]:
    """An image file, for as long as the `with` lasts. Of an animation, the first frame.

    A JPEG is decoded at a lower resolution if the square of `side` pixels that will be cut from it (None: the largest)
    has at least four times the `target` size (None: never). Raises BruleError if it is missing, not a whole image, or
    too large; it calls the file `name`, by default its path, and ends with the `mend`.
    """
    name = str(file) if name is None else name
    with _telling(name, mend), _opened(file) as image:
        size, turned = image.size, _maybe_turned(image)
        side = side or min(size)
        if target and not turned and side >= 4 * target:
            # Decoding at 1/2, 1/4 or 1/8 is much cheaper. Twice the target is kept, for the filter.
            width, height = (max(1, int(pixels * 2 * target / side)) for pixels in size)
            image.draft(image.mode, (width, height))
        factor = round(size[0] / image.width)
        need = _need(image, size, turned)
    if need > LIMIT:
        image.close()
        raise _too_large(name, size, need)
    with _MEMORY.taken(need):
        with _telling(name, mend), image:
            image.load()
            turned = turned and _orientation(image) != 1
            whole = rgb(ImageOps.exif_transpose(image) if turned else image)
            if whole is not image:
                image.close()  # gives its pixels back
        yield Picture(whole, whole.size if factor == 1 else size, factor)


def size(path: Path) -> tuple[int, int]:
    """Width and height of an image file as it is displayed. Raises BruleError naming the file."""
    try:
        with _opened(path) as image, image:
            width, height = image.size
            if not _maybe_turned(image):
                return width, height
            if not _late(image) and image.format != "TIFF":  # whose size PIL turns by itself, or not: by its version
                return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)
    except Exception as error:  # as in `_telling`
        raise BruleError(f"{path}: its size cannot be read ({_reason(error)}); {_MEND}") from None
    with read(path, None, None) as found:
        return found.size


@contextmanager
def picture(photo: Photo, name: str, side: float | None, target: int) -> Iterator[Picture]:
    """Any photo, for as long as the `with` lasts. Errors call it `name`; the other arguments are those of `read`.

    Of a PIL image, the current frame. Raises BruleError if it is not a photo, or not a whole one.
    """
    if isinstance(photo, np.ndarray):
        yield _made(_of_array(photo, name))
    elif isinstance(photo, Image.Image):
        with _of_pil(photo, name) as image:
            yield _made(image)
    elif isinstance(photo, str | os.PathLike):
        with read(_existing(photo), side, target) as found:
            yield found
    else:
        raise BruleError(f"{name}: {type(photo).__name__} is not a photo; give a path, an array or a PIL image")


def rgb(image: Image.Image) -> Image.Image:
    """Grey and palette expanded, 16 bits reduced to 8, transparency laid on white. Plain RGB stays the same object."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    width, height = image.size
    rows = max(1, _STRIP // width)
    if rows >= height:
        return _rgb(image)
    whole = Image.new("RGB", image.size)
    for top in range(0, height, rows):  # since every step between takes as much memory as the photo itself
        whole.paste(_rgb(image.crop((0, top, width, min(top + rows, height)))), (0, top))
    return whole


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bit and more: PIL's own conversion clips at 255 instead of scaling
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.rint(values.clip(0, 65535) / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


@contextmanager
def _opened(file: Path | BinaryIO) -> Iterator[Image.Image]:
    """An image file whose header was read, for the body of the `with`, in which PIL warns of nothing.

    PIL would warn of photos beyond 89 megapixels. It refuses those beyond 179.
    """
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.init()
        yield Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN])


@contextmanager
def _telling(name: str, mend: str) -> Iterator[None]:
    """Turn PIL's errors into BruleError."""
    try:
        yield
    except FileNotFoundError:
        raise BruleError(f"{name}: the image is missing; run the download stage again") from None
    except UnidentifiedImageError:
        raise BruleError(f"{name}: is not a readable image; {mend}") from None
    except Image.DecompressionBombError as error:
        count, most = (int(number) // 10**6 for number in [*re.findall(r"\d+", str(error)), "0", "0"][:2])
        raise BruleError(f"{name}: has {count} million pixels, but at most {most} are decoded; reduce it") from None
    except MemoryError:
        raise BruleError(f"{name}: the memory does not suffice to decode it; free some, or reduce the photo") from None
    except Exception as error:  # PIL's many decoders raise all kinds of errors on a mangled file
        raise BruleError(f"{name}: cannot be read ({_reason(error)}); {mend}") from None


def _late(image: Image.Image) -> bool:
    """Whether the orientation may stand behind the pixels, so that PIL would decode these to read it."""
    return image.format == "PNG" and "exif" not in image.info


def _maybe_turned(image: Image.Image) -> bool:
    return _late(image) or _orientation(image) != 1


def _orientation(image: Image.Image) -> int:
    found: int = image.getexif().get(_ORIENTATION, 1)
    return found


def _need(image: Image.Image, size: tuple[int, int], turned: bool) -> int:
    """Bytes that the photo takes from decoding to RGB, as far as its header tells. `size`: before `draft`."""
    pixel = _LOADING.get(image.format or "", 4) + 4 * (turned + (image.mode != "RGB"))
    spare = _PROGRESSIVE * size[0] * size[1] if image.info.get("progressive") else 0
    return pixel * image.width * image.height + spare


def _too_large(name: str, size: tuple[int, int], need: int) -> BruleError:
    return BruleError(
        f"{name}: has {size[0]}x{size[1]} pixels, which take {need / 2**30:.1f} GB to decode, but photos may take "
        f"{LIMIT / 2**30:g} GB; reduce it"
    )


def _existing(photo: str | os.PathLike[str]) -> Path:
    path = Path(os.fsdecode(photo))
    try:
        if path.is_file():
            return path
        found = path.exists()
    except (OSError, ValueError):  # a name too long for the system, or with a zero byte in it
        found = False
    raise BruleError(f"{photo}: {'is not a file' if found else 'there is no such file'}; give the path of a photo")


def _of_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    plain = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not plain or not array.size or array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise BruleError(
            f"{name}: an array of shape {array.shape} and type {array.dtype} is not a photo; give uint8 or uint16 of "
            "shape (height, width), (height, width, 3) or (height, width, 4)"
        )
    if array.dtype.itemsize == 2:
        array = (array.astype(np.uint32) + 128) // 257
    values = np.asarray(array, np.uint8)
    return rgb(Image.fromarray(values[..., 0] if values.shape[2:] == (1,) else values))


@contextmanager
def _of_pil(image: Image.Image, name: str) -> Iterator[Image.Image]:
    if not image.width or not image.height:
        raise BruleError(f"{name}: has no pixels; give another image")
    with _telling(name, "give another image"):
        need = _need(image, image.size, _maybe_turned(image))
    if need > LIMIT:
        raise _too_large(name, image.size, need)
    with _MEMORY.taken(need):
        with _telling(name, "give another image"):
            image.load()
            whole = rgb(image if _orientation(image) == 1 else ImageOps.exif_transpose(image))
        yield whole


def _made(image: Image.Image) -> Picture:
    return Picture(image, image.size, 1)


def _reason(error: Exception) -> str:
    """PIL's message on one line, or the name of an error without one."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__
