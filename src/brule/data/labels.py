"""The landmarks of objects, as one file or folder gives them, and how the parts of any such file are checked.

Every form of file is read by these checks, the `.pts` as well as those in `forms`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from brule.data.schemes import Scheme
from brule.errors import BruleError, quoted

Points = npt.NDArray[np.float64]


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
    written = [str(name).strip() for name in names if isinstance(name, str | int) and not isinstance(name, bool)]
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
        shown = " ".join(value if isinstance(value, str) else quoted(value) for value in values[:5])
        raise BruleError(f"{where}: {quoted(shown)} is not a landmark; write two finite numbers, x and y")
    return point
