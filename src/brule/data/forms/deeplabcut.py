"""DeepLabCut: the CSV of labelled frames, whose header is a row each for scorer, (individuals,) bodyparts and coords.

The index is one column with the frame's path or, in newer versions, three with its parts. Coordinates are pixels, 0 at
the centre of the first, as here.
"""

import csv
import math
from pathlib import Path

from brule.data.forms.objects import File, Marked
from brule.data.labels import as_point
from brule.errors import BruleError, quoted

_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_UNIQUE = "single"
"""Beside the animals of a frame, the individual that has what stands there but once, such as a corner of the cage."""


def recognised(content: str) -> bool:
    """Whether a CSV has this form."""
    return content.lstrip().partition("\n")[0].split(",")[0].strip().strip('"') == "scorer"


def read(path: Path, content: str) -> File:
    """An object for each individual of a frame, if any of its bodyparts is labelled there."""
    try:
        rows = [row for row in csv.reader(content.splitlines()) if any(cell.strip() for cell in row)]
    except csv.Error:
        raise BruleError(f"{path}: a quotation mark is never closed; remove it") from None
    head = {}
    while rows and rows[0][0].strip() in _LEVELS:
        head[rows[0][0].strip()] = [cell.strip() for cell in rows[0]]
        rows.pop(0)
    width = len(head.get("scorer", []))
    if not {"scorer", "bodyparts", "coords"} <= set(head) or any(len(row) != width for row in head.values()):
        raise BruleError(
            f"{path}: is not DeepLabCut's whole header; it has the rows scorer, bodyparts and coords, of equal length"
        )
    if "likelihood" in head["coords"]:
        raise BruleError(f"{path}: holds DeepLabCut's predictions (likelihood), not labels; give CollectedData_….csv")
    first = next((k for k, cell in enumerate(head["coords"]) if k and cell), width)
    columns = _columns(path, head, first)
    objects = []
    for number, row in enumerate(rows, start=len(head) + 1):
        where = f"{path}, line {number}"
        if len(row) != width:
            raise BruleError(f"{where}: has {len(row)} cells but the header has {width}; correct the line")
        image = "/".join(cell.strip() for cell in row[:first] if cell.strip()).replace("\\", "/")
        for places in columns.values():
            points = dict[str, list[float]]()
            for name, (x, y) in places.items():
                pair = [row[x].strip(), row[y].strip()]
                if any(pair) and not all(map(_missing, pair)):
                    points[name] = as_point(pair, f"{where}, {quoted(name)}")
            if points:
                objects.append(Marked(where, image, None, points))
    return File(objects, tuple(next(iter(columns.values()))))


def _missing(cell: str) -> bool:
    """Empty, or NaN."""
    try:
        return not cell or math.isnan(float(cell))
    except ValueError:
        return False


def _columns(path: Path, head: dict[str, list[str]], first: int) -> dict[str, dict[str, tuple[int, int]]]:
    """Individual → bodypart → the columns of its x and y. All animals have the same bodyparts."""
    places: dict[str, dict[str, dict[str, int]]] = {}
    for k in range(first, len(head["coords"])):
        individual = head.get("individuals", head["scorer"])[k]
        places.setdefault(individual, {}).setdefault(head["bodyparts"][k], {})[head["coords"][k]] = k
    for parts in places.values():
        for name, axes in parts.items():
            if set(axes) != {"x", "y"}:
                raise BruleError(f"{path}: bodypart {quoted(name)} has not just one x and one y; correct the header")
    if not places:
        raise BruleError(f"{path}: its header names no bodyparts; correct it")
    animals = {individual: parts for individual, parts in places.items() if individual != _UNIQUE} or places
    if len({frozenset(parts) for parts in animals.values()}) > 1:
        raise BruleError(
            f"{path}: its individuals {', '.join(animals)} differ in their bodyparts; give a file for each kind"
        )
    return {
        individual: {name: (axes["x"], axes["y"]) for name, axes in parts.items()}
        for individual, parts in animals.items()
    }
