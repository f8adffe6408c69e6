"""The landmarks of one image as a `.pts` file, iBUG's form.

Pixels count from 1 in the file, and from 0 (the centre of the first pixel) in memory.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from brule.data.labels import Points, as_point
from brule.documents import read_text
from brule.errors import BruleError


def read_pts(path: Path | str) -> Points:
    """The landmarks of a `.pts`, (K, 2), in pixels counted from 0.

    Takes iBUG's form (`version: 1`, `n_points: K`, braces) and bare lines `x y`. Raises BruleError naming file and line
    if a line is not two finite numbers, or if there are more or fewer than announced.
    """
    path = Path(path)
    announced, points = None, []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line = line.strip()
        if line.lower().startswith("n_points"):
            announced = line.partition(":")[2].strip()
        elif line and line not in "{}" and not line.lower().startswith("version"):
            points.append(as_point(line.split(), f"{path}, line {number}"))
    if not points:
        raise BruleError(f"{path}: holds no landmarks; write one `x y` per line")
    if announced is not None and announced != str(len(points)):
        raise BruleError(f"{path}: announces n_points: {announced} but holds {len(points)}; correct the file")
    return np.array(points) - 1


def format_pts(points: npt.ArrayLike) -> str:
    """The text of an iBUG `.pts`, which counts from 1, for (K, 2) pixels that count from 0."""
    rows = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in np.asarray(points, dtype=np.float64).tolist()]
    return "\n".join(["version: 1", f"n_points: {len(rows)}", "{", *rows, "}", ""])
