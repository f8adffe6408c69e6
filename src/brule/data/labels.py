"""The landmarks of objects, as one file or folder gives them, and how the parts of any such file are checked.

Every form of file is read by these checks: `landmarks` reads those of brule itself, the room `forms` those of other
tools.
"""

import codecs
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.data.schemes import Scheme
from brule.errors import BruleError

Points = npt.NDArray[np.float64]
LARGEST = 2**30
"""Bytes. No file of landmarks is larger; one that is would fill the memory."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The landmarks of M objects, as one file or folder gives them."""

    points: Points
    """(M, K, 2). In pixels of the object's image, counted from 0, where an image is named; else in any unit."""
    scheme: Scheme | None = None
    """What the file says of its K landmarks. None: nothing, not even their names."""
    images: tuple[str, ...] = ()
    """(M) the name of each object's image, as the file writes it. Empty: the file names none."""
    sizes: tuple[tuple[int, int], ...] = ()
    """(M) width and height of each object's image. Empty: the file does not tell them."""


def as_names(names: Sequence[object], count: int, path: Path | str) -> list[str]:
    """The names of K landmarks. Raises BruleError unless they are K different ones that a file can hold."""
    written = [str(name).strip() for name in names]
    if len(written) != count or len(set(written)) != len(written) or not all(map(_writable, written)):
        raise BruleError(f"{path}: names must name each of the {count} landmarks once; correct them")
    return written


def _writable(name: str) -> bool:
    """Not empty, and without the half characters that JSON can spell and no file can hold."""
    return bool(name) and not any("\ud800" <= letter <= "\udfff" for letter in name)


def as_point(values: Iterable[object], where: str) -> list[float]:
    """[x, y], from two numbers or their texts. Raises BruleError that begins with `where`, unless they are finite."""
    values = list(values)
    try:
        if any(isinstance(value, bool) or not isinstance(value, int | float | str) for value in values):
            raise ValueError
        point = [float(value) for value in values if isinstance(value, int | float | str)]
    except (ValueError, OverflowError):
        point = []
    if len(point) != 2 or not all(map(math.isfinite, point)):
        shown = " ".join("…" if isinstance(value, list | dict) else str(value) for value in values)[:60]
        raise BruleError(f"{where}: {shown!r} is not a landmark; write two finite numbers, x and y")
    return point


def parse_json(text: str, path: Path) -> Any:
    """What a JSON file holds. Raises BruleError naming the file, and the line if its text is not JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BruleError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); correct the file") from None
    except RecursionError:
        raise BruleError(f"{path}: is nested too deeply for a file of landmarks; correct the file") from None
    except ValueError:  # Python's limit on the digits of a whole number
        raise BruleError(f"{path}: holds a number of thousands of digits; correct the file") from None


def read_text(path: Path) -> str:
    """A text file, whatever its bytes. What is not UTF-8 (or marked UTF-16) becomes a character that no number has."""
    try:
        if path.stat().st_size > LARGEST:
            raise BruleError(f"{path}: is larger than {LARGEST >> 30} GB, as no file of landmarks is; divide it")
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise BruleError(f"{path}: does not exist; correct the path") from None
    except OSError as error:
        raise BruleError(f"{path}: cannot be read ({error.strerror}); correct the path or its permissions") from None
