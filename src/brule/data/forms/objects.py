"""What the forms of all tools have in common: objects whose landmarks somebody marked, and proposals to correct."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brule.data.labels import Labels, Points, as_names
from brule.data.schemes import Scheme
from brule.errors import BruleError, counted, quoted

Size = tuple[int, int]
"""Width and height of an image as it is displayed, in pixels."""
Sizes = Callable[[str], Size | None]
"""The name of an image, as a file writes it → its size. None: the image is not at hand."""

HALF = 0.5
"""Tools that draw on a canvas count from the edge of the first pixel, `brule` from its centre."""

STRAY = 4
"""What is marked on fewer than one in so many objects is a slip: all the others would be left out for want of it."""


class Marked(NamedTuple):
    """An object as a file gives it, complete or not."""

    where: str
    """What errors call it."""
    image: str
    """The name of its image. Empty: the file does not tell."""
    size: Size | None
    points: Mapping[str, Sequence[float]]
    """Landmark → x, y in pixels of the image, counted from 0, the centre of the first. What is missing is not there."""


class File(NamedTuple):
    """What a file holds."""

    objects: Sequence[Marked]
    names: tuple[str, ...] | None = None
    """Its landmarks in order, where the file declares them. None: they are what is marked."""
    edges: tuple[tuple[str, str], ...] = ()
    """Landmarks that pictures join."""
    others: int = 0
    """How many boxes, outlines and other marks it holds that are no landmarks."""


class Proposal(NamedTuple):
    """The landmarks of a photo, for a person to correct."""

    image: str
    """The photo's path below the folder that the tool shows, with forward slashes."""
    size: Size
    points: Points
    """(K, 2) pixels of the photo as it is displayed, 0 at the centre of the first."""
    score: float
    """From 0 to 1: the mean confidence."""


def nothing_known(_: str) -> Size | None:
    """The `Sizes` of somebody who has no images."""
    return None


def gather(files: Iterable[File], path: Path) -> Labels:
    """The complete objects of some files that have the same landmarks. Prints how many lack some and are left out.

    Raises BruleError naming `path` or the object if none is complete, or if the files do not agree.
    """
    files = list(files)
    names, edges = _landmarks(files, path)
    objects = list(chain.from_iterable(file.objects for file in files))
    if not objects or not names:
        others = sum(file.others for file in files)
        what = f"holds {others} boxes or other marks but no landmarks" if others else "holds no landmarks"
        raise BruleError(f"{path}: {what}; mark the landmarks as points, and export again")
    for each in objects:
        if unknown := [name for name in each.points if name not in names]:
            wrong = quoted(unknown[0])
            raise BruleError(f"{each.where}: {wrong} is none of the landmarks {_list(names)}; correct the name")
    whole = [each for each in objects if len(each.points) == len(names)]
    if len(whole) < len(objects):
        count = Counter(chain.from_iterable(each.points for each in objects))
        rare = min(names, key=lambda name: count[name])
        lacking = f"{len(objects) - len(whole)} of {len(objects)} objects lack a landmark"
        if not whole:
            raise BruleError(
                f"{path}: no object has all of the {len(names)} landmarks, and only {count[rare]} of {len(objects)} "
                f"have {quoted(rare)}; mark all of them, or correct that name"
            )
        print(f"{path}: {lacking} and are left out (most often {quoted(rare)}).")
    points = np.array([[each.points[name] for name in names] for each in whole], dtype=np.float64)
    for each, shape in zip(whole, points, strict=True):
        if not np.isfinite(shape).all():
            raise BruleError(f"{each.where}: its landmarks are too far away for any image; correct the numbers")
        if any(0xD800 <= ord(letter) < 0xE000 for letter in each.image):
            raise BruleError(f"{each.where}: the name of its image holds half a character; correct the name")
    images = tuple(each.image for each in whole)
    sizes = tuple(each.size for each in whole if each.size)
    return Labels(
        points,
        _scheme(names, edges),
        images if all(images) else (),
        sizes if len(sizes) == len(whole) else (),
    )


def _landmarks(files: Sequence[File], path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The names of all landmarks in order, and what joins them."""
    declared = [file for file in files if file.names is not None and file.objects]
    if not declared:
        objects = list(chain.from_iterable(file.objects for file in files))
        marked = Counter(chain.from_iterable(each.points for each in objects))
        for name, count in marked.items():
            if STRAY * count < len(objects):
                where = next(each.where for each in objects if name in each.points)
                told = f"{quoted(name)} is marked on only {count} of {len(objects)} objects"
                raise BruleError(f"{where}: {told}; correct its name, remove it, or mark it on all of them")
        # In the order of the first object that has them all: one that lacks some says less of it.
        names = list(next((each.points for each in objects if len(each.points) == len(marked)), marked))
        if all(name.isascii() and name.isdecimal() and len(name) < 10 for name in names):
            names.sort(key=int)
        return as_names(names, len(names), path), []
    first = declared[0].names or ()
    for file in declared:
        if set(file.names or ()) != set(first):
            raise BruleError(
                f"{path}: some objects have the landmarks {_list(first)}, others {_list(file.names or ())}; give a "
                "file for each kind of object"
            )
    edges = dict.fromkeys(chain.from_iterable(file.edges for file in declared))
    return as_names(first, len(first), path), list(edges)


def _scheme(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> Scheme | None:
    """Names that only count say nothing of the landmarks."""
    joined = tuple((names.index(one), names.index(other)) for one, other in edges)
    if list(names) == [str(k) for k in range(len(names))] and not joined:
        return None
    known = Scheme.of(len(names), names)
    return Scheme(known.names, known.flip, known.normaliser, joined or known.edges)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown}, … ({len(names)})" if len(names) > 6 else shown


# What the readers check.


def as_size(width: Any, height: Any) -> Size | None:
    """Two whole numbers above 0, as numbers or as text; else None."""
    try:
        size = int(width), int(height)
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 and max(size) < 2**31 else None


def numbered(objects: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """The names of landmarks that have only numbers: "0" … "K-1". Raises BruleError unless all objects, given by what
    errors call them and their number of landmarks, have as many."""
    for where, count in objects:
        if count != objects[0][1]:
            raise BruleError(
                f"{where}: has {counted(count, 'landmark')}, {objects[0][0]} {objects[0][1]}; make them agree"
            )
    return tuple(map(str, range(objects[0][1] if objects else 0)))


def add(points: dict[str, Sequence[float]], name: str, point: Sequence[float], where: str) -> None:
    """Put a landmark among those of its object. Raises BruleError if the object has it already."""
    if name in points:
        raise BruleError(
            f"{where}: {quoted(name)} is marked twice; mark it once, or put the landmarks of each object into a group"
        )
    points[name] = point


def mappings(value: Any) -> list[dict[str, Any]]:
    """The mappings in a list of JSON. Whatever else stands there is passed over."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def printable(text: str) -> str:
    """A name without the control characters that neither XML nor a line of text can hold."""
    return re.sub(r"[\x00-\x1f\x7f\ufffe\uffff]", "\ufffd", text)
