"""Photos of every kind, from files and from memory, as upright RGB: for training and for prediction alike."""

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from brule.errors import BruleError

Photo = str | os.PathLike[str] | npt.NDArray[Any] | Image.Image
"""A file; pixels (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16; or a PIL image."""

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


def read(path: Path, side: float | None, target: int) -> Picture:
    """An image file. Of an animation, the first frame.

    A JPEG is decoded at a lower resolution if the square of `side` pixels that will be cut from it (None: the largest)
    has at least four times the `target` size. Raises BruleError naming the file if it is missing or not a whole image.
    """
    try:
        with Image.open(path) as image:
            size, upright = image.size, image.getexif().get(_ORIENTATION, 1) == 1
            side = side or min(size)
            if upright and side >= 4 * target:
                # Decoding at 1/2, 1/4 or 1/8 is much cheaper. Twice the target is kept, for the filter.
                width, height = (max(1, int(pixels * 2 * target / side)) for pixels in size)
                image.draft(image.mode, (width, height))
            factor = round(size[0] / image.width)
            image.load()
            whole = rgb(image if upright else ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise BruleError(f"{path}: the image is missing; run the download stage again") from None
    except UnidentifiedImageError:
        raise BruleError(f"{path}: is not a readable image; {_MEND}") from None
    except Exception as error:  # PIL's many decoders raise all kinds of errors on a mangled file
        raise BruleError(f"{path}: cannot be read ({_reason(error)}); {_MEND}") from None
    return Picture(whole, size if upright else whole.size, factor)


def size(path: Path) -> tuple[int, int]:
    """Width and height of an image file as it is displayed, without decoding it. Raises BruleError naming the file."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception as error:  # as in `read`
        raise BruleError(f"{path}: its size cannot be read ({_reason(error)}); {_MEND}") from None
    return (height, width) if turned else (width, height)


def picture(photo: Photo, name: str, side: float | None, target: int) -> Picture:
    """Any photo. Errors call it `name`; the other arguments are those of `read`.

    Of a PIL image, the current frame. Raises BruleError if it is not a photo, or not a whole one.
    """
    with warnings.catch_warnings():  # PIL warns of photos beyond 89 megapixels, and refuses those beyond 179
        warnings.simplefilter("ignore")
        if isinstance(photo, np.ndarray):
            return _made(_of_array(photo, name))
        if isinstance(photo, Image.Image):
            return _made(_of_pil(photo, name))
        if not isinstance(photo, str | os.PathLike):
            raise BruleError(f"{name}: {type(photo).__name__} is not a photo; give a path, an array or a PIL image")
        return read(_existing(photo), side, target)


def rgb(image: Image.Image) -> Image.Image:
    """Grey and palette expanded, 16 bits reduced to 8, transparency laid on white."""
    if image.mode.startswith("I"):  # 16 bit and more: PIL's own conversion clips at 255 instead of scaling
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.rint(values.clip(0, 65535) / 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


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


def _of_pil(image: Image.Image, name: str) -> Image.Image:
    if not image.width or not image.height:
        raise BruleError(f"{name}: has no pixels; give another image")
    try:
        image.load()
        return rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # as in `read`
        raise BruleError(f"{name}: cannot be read ({_reason(error)}); give another image") from None


def _made(image: Image.Image) -> Picture:
    return Picture(image, image.size, 1)


def _reason(error: Exception) -> str:
    """PIL's message on one line, or the name of an error without one."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__
