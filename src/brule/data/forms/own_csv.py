"""brule's own CSV of shapes: a landmark per row (shape, name, x, y), or a shape per row (x0, y0, … or nose_x, …)."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from brule.data.labels import Labels, as_names, as_point
from brule.data.schemes import Scheme
from brule.documents import read_text
from brule.errors import BruleError, quoted


def read(path: Path) -> Labels:
    """The shapes of a file. Raises BruleError naming it and the line."""
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows: list[list[str]] = []
    reader, whole = csv.reader(text.splitlines(), delimiter=delimiter), 0
    try:
        for row in reader:
            rows.append(row)
            whole = reader.line_num
    except csv.Error:  # a cell longer than any real one
        raise BruleError(f"{path}, line {whole + 1}: a quotation mark is never closed; remove it") from None
    numbered = [(number, row) for number, row in enumerate(rows, start=1) if any(cell.strip() for cell in row)]
    if len(numbered) < 2:
        raise BruleError(f"{path}: holds no shapes; write a header, and one shape or landmark per line")
    columns = [cell.strip() for cell in numbered[0][1]]
    lines = [(f"{path}, line {number}", [cell.strip() for cell in row]) for number, row in numbered[1:]]
    for where, row in lines:
        if len(row) != len(columns):
            raise BruleError(f"{where}: has {len(row)} cells but the header has {len(columns)}; correct the line")
    if {"shape", "name", "x", "y"} <= {column.lower() for column in columns}:
        return _long(path, [column.lower() for column in columns], lines)
    return _wide(path, columns, lines)


def _long(path: Path, columns: list[str], lines: list[tuple[str, list[str]]]) -> Labels:
    for column in columns:
        if columns.count(column) > 1:
            raise _twice(path, column)
    shape, name, x, y = (columns.index(column) for column in ("shape", "name", "x", "y"))
    table: dict[str, dict[str, list[float]]] = {}
    names: dict[str, None] = {}
    for where, row in lines:
        points = table.setdefault(row[shape], {})
        if row[name] in points:
            raise BruleError(f"{where}: shape {quoted(row[shape])} has {quoted(row[name])} twice; keep one")
        points[row[name]] = as_point([row[x], row[y]], where)
        names.setdefault(row[name])
    for key, points in table.items():
        for missing in names:
            if missing not in points:
                raise BruleError(f"{path}: shape {quoted(key)} lacks the landmark {quoted(missing)}; add its line")
    order = _in_order(names)
    shapes = np.array([[points[each] for each in order] for points in table.values()])
    return Labels(shapes, Scheme.of(len(order), as_names(order, len(order), path)))


def _wide(path: Path, columns: list[str], lines: list[tuple[str, list[str]]]) -> Labels:
    """x0, y0, x1, y1, … → names "0", "1", …; nose_x, nose_y, … → "nose", …."""
    places: dict[str, dict[str, int]] = {}
    for index, column in enumerate(columns):
        lower = column.lower()
        if lower[:1] in ("x", "y") and lower[1:].isdecimal():
            name, axis = lower[1:], lower[0]
        elif lower.endswith(("_x", "_y")) and len(lower) > 2:
            name, axis = column[:-2], lower[-1]
        elif lower in ("shape", "id", "image", "name"):
            continue
        else:
            raise BruleError(
                f"{path}, line 1: {quoted(column)} is not a landmark; name columns x0, y0, … or nose_x, nose_y, …"
            )
        if axis in places.setdefault(name, {}):
            raise _twice(path, column)
        places[name][axis] = index
    for name, pair in places.items():
        if len(pair) != 2:
            raise BruleError(
                f"{path}, line 1: the landmark {quoted(name)} has only one of x and y; add the other column"
            )
    if not places:
        raise BruleError(f"{path}, line 1: names no landmark; name columns x0, y0, … or nose_x, nose_y, …")
    order = _in_order(places)
    at = [places[name] for name in order]
    shapes = np.array([[as_point([row[of["x"]], row[of["y"]]], where) for of in at] for where, row in lines])
    numbers = all(name.isdecimal() for name in order)
    return Labels(shapes, None if numbers else Scheme.of(len(order), as_names(order, len(order), path)))


def _in_order(names: Iterable[str]) -> list[str]:
    """As in the file; but numbers count, whatever the order in which a program wrote them (0, 1, 10, 11, 2, …)."""
    names = list(names)
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _twice(path: Path, column: str) -> BruleError:
    return BruleError(f"{path}, line 1: the column {quoted(column)} stands there twice; remove one")
