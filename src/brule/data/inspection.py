"""What is wrong with the files of a user: all of it at once, and before anything is copied."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from brule import cores, files
from brule.data import photos
from brule.data.crop import around
from brule.data.faults import attempt, raise_all
from brule.data.labels import Points
from brule.data.layouts import Found
from brule.data.pts import read_pts
from brule.errors import BruleError, counted
from brule.terminal import track

_SIDE = 64
T = TypeVar("T")


def inspect(
    found: Sequence[Found],
    look: Callable[[int, Path], T],
    judge: Callable[[dict[int, T], dict[int, Points]], list[BruleError]] | None = None,
) -> tuple[list[T], dict[int, Points]]:
    """What `look` says of each image, given its number and its path; and the landmarks beside the images, by number.

    Raises one BruleError about all images and landmarks that cannot be read, or whose names no file can hold, and about
    what else `judge` has against those that can.
    """

    def every(number: int) -> tuple[T | BruleError, Points | BruleError | None, BruleError | None]:
        each = found[number]
        shape = attempt(lambda: read_pts(each.points) if each.points else None)
        return attempt(lambda: look(number, each.image)), shape, unlistable(each.name, each.image)

    seen: dict[int, T] = {}
    landmarks: dict[int, Points] = {}
    failed: list[BruleError] = []
    with ThreadPoolExecutor(cores.available()) as pool:
        answers = pool.map(every, range(len(found)))
        for number, (answer, points, name) in enumerate(track(answers, "Looking at photos", len(found))):
            failed += [wrong for wrong in (answer, points, name) if isinstance(wrong, BruleError)]
            if not isinstance(answer, BruleError):
                seen[number] = answer
            if points is not None and not isinstance(points, BruleError):
                landmarks[number] = points
    raise_all(failed + (judge(seen, landmarks) if judge else []))
    return list(seen.values()), landmarks


def admit(found: Sequence[Found], count: int | None = None) -> None:
    """Raise one BruleError about everything for which training could not use these images.

    count: how many landmarks `data.shapes` has. None: there is none, and all must have as many as most.
    """

    def judge(sizes: dict[int, tuple[int, int]], landmarks: dict[int, Points]) -> list[BruleError]:
        wanted, those = (count, "data.shapes has") if count else (_usual(landmarks), "most have")
        failed = []
        for number, points in landmarks.items():
            path = found[number].points
            if len(points) != wanted:
                counts = f"has {counted(len(points), 'landmark')}, {those} {wanted}"
                failed.append(BruleError(f"{path}: {counts}; make them agree"))
            elif number in sizes and (fault := _fault(points, *sizes[number])):
                failed.append(BruleError(f"{path}: {fault}"))
        return failed

    inspect(found, _size, judge)


def _fault(points: Points, width: int, height: int) -> str | None:
    """Why nothing can be cut around these landmarks of an image of this size."""
    inside = ((points > -0.5) & (points < np.array([width, height]) - 0.5)).all(1)
    if not inside.any():
        return f"none of its landmarks lies in the image, which has {width}x{height} pixels; correct them"
    fault = attempt(lambda: around(points, 1.0, 0.0))
    return str(fault) if isinstance(fault, BruleError) else None


def _usual(landmarks: dict[int, Points]) -> int:
    return Counter(map(len, landmarks.values())).most_common(1)[0][0] if landmarks else 0


def _size(_: int, path: Path) -> tuple[int, int]:
    with photos.read(path, None, _SIDE) as picture:
        return picture.size


def unlistable(name: str, path: Path) -> BruleError | None:
    """What is wrong with a photo's name within its folder, if no list can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return BruleError(f"{files.shown(path)}: its name is not UTF-8, so no list can hold it; rename the file")
    return None
