"""Landmark files: .pts, CSV and JSON, read into arrays of (x, y), y down.

The landmarks of images are `.pts` files: pixels count from 1 in the file, and from 0 (the centre of the first pixel) in
memory. Unpaired shapes may have any unit, the same for x and y, because each is scaled by its own box before use.
"""

import codecs
import csv
import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from brule.data.download import extract, is_archive
from brule.errors import BruleError

Points = npt.NDArray[np.float64]
Shapes = tuple[list[str] | None, Points]

_READ_AS_JSON = '{"names": [...], "shapes": [[[x, y], ...], ...]}'


def read_pts(path: Path | str) -> Points:
    """The landmarks of a `.pts`, (K, 2), in pixels counted from 0.

    Takes iBUG's form (`version: 1`, `n_points: K`, braces) and bare lines `x y`. Raises BruleError naming file and line
    if a line is not two finite numbers, or if there are more or fewer than announced.
    """
    path = Path(path)
    announced, points = None, []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        line = line.strip()
        if line.lower().startswith("n_points"):
            announced = line.partition(":")[2].strip()
        elif line and line not in "{}" and not line.lower().startswith("version"):
            points.append(_pair(line.split(), f"{path}, line {number}"))
    if not points:
        raise BruleError(f"{path}: holds no landmarks; write one `x y` per line")
    if announced is not None and announced != str(len(points)):
        raise BruleError(f"{path}: announces n_points: {announced} but holds {len(points)}; correct the file")
    return np.array(points) - 1


def format_pts(points: npt.ArrayLike) -> str:
    """The text of an iBUG `.pts`, which counts from 1, for (K, 2) pixels that count from 0."""
    rows = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in np.asarray(points, dtype=np.float64).tolist()]
    return "\n".join(["version: 1", f"n_points: {len(rows)}", "{", *rows, "}", ""])


def read_shapes(path: Path | str) -> Shapes:
    """Unpaired shapes: the names of their landmarks (None if the file has none) and their points (M, K, 2).

    - a folder, zip or tar of `.pts`, or one `.pts`;
    - JSON: {"names": [...], "shapes": [[[x, y], ...], ...]}, names optional;
    - CSV, long: columns shape, name, x, y, one landmark per row;
    - CSV, wide: one shape per row, columns x0, y0, x1, y1, … or nose_x, nose_y, …; shape, id and image are ignored.

    Raises BruleError naming file and line if the content does not have that form, is not finite, or the shapes differ
    in K.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, path)
    if is_archive(path):
        with tempfile.TemporaryDirectory() as folder:
            extract(path, Path(folder))
            return _read_folder(Path(folder), path)
    match path.suffix.lower():
        case ".pts":
            return None, read_pts(path)[None]
        case ".json":
            return _read_json(path)
        case ".csv":
            return _read_csv(path)
    raise BruleError(
        f"{path}: not a file of landmark shapes; give a folder, zip or tar of .pts, one .pts, a .csv or a .json"
    )


def _read_folder(folder: Path, origin: Path) -> Shapes:
    found = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() == ".pts" and file.name[0] != "."]
    if not found:
        raise BruleError(f"{origin}: holds no .pts file; give the folder that holds the landmark shapes")
    shapes = [read_pts(file) for file in found]
    for file, shape in zip(found, shapes, strict=True):
        if len(shape) != len(shapes[0]):
            raise BruleError(f"{file}: has {len(shape)} landmarks, {found[0].name} {len(shapes[0])}; make them agree")
    return None, np.stack(shapes)


def _read_json(path: Path) -> Shapes:
    try:
        raw = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise BruleError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); correct the file") from None
    except RecursionError:
        raise BruleError(f"{path}: is nested too deeply; write {_READ_AS_JSON}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("shapes"), list) or not raw["shapes"]:
        raise BruleError(f"{path}: holds no shapes; write {_READ_AS_JSON}")
    shapes: list[list[list[float]]] = []
    for index, shape in enumerate(raw["shapes"]):
        if not isinstance(shape, list) or not all(isinstance(point, list) for point in shape) or not shape:
            raise BruleError(f"{path}: shape {index} is not a list of [x, y]; write {_READ_AS_JSON}")
        shapes.append([_pair(point, f"{path}: shape {index}") for point in shape])
        if len(shape) != len(shapes[0]):
            raise BruleError(f"{path}: shape {index} has {len(shape)} landmarks, not {len(shapes[0])}; make them agree")
    names = raw.get("names")
    if names is not None and not isinstance(names, list):
        raise BruleError(f"{path}: names is not a list; write {_READ_AS_JSON}")
    return _named(names, np.array(shapes), path)


def _read_csv(path: Path) -> Shapes:
    text = _text(path)
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


def _long(path: Path, columns: list[str], lines: list[tuple[str, list[str]]]) -> Shapes:
    shape, name, x, y = (columns.index(column) for column in ("shape", "name", "x", "y"))
    table: dict[str, dict[str, list[float]]] = {}
    names: dict[str, None] = {}
    for where, row in lines:
        points = table.setdefault(row[shape], {})
        if row[name] in points:
            raise BruleError(f"{where}: shape {row[shape]!r} has {row[name]!r} twice; keep one")
        points[row[name]] = _pair([row[x], row[y]], where)
        names.setdefault(row[name])
    for key, points in table.items():
        for missing in names:
            if missing not in points:
                raise BruleError(f"{path}: shape {key!r} lacks the landmark {missing!r}; add its line")
    return _named(list(names), np.array([[points[each] for each in names] for points in table.values()]), path)


def _wide(path: Path, columns: list[str], lines: list[tuple[str, list[str]]]) -> Shapes:
    """x0, y0, x1, y1, … → names "0", "1", …; nose_x, nose_y, … → "nose", …."""
    places: dict[str, dict[str, int]] = {}
    for index, column in enumerate(columns):
        lower = column.lower()
        if lower[:1] in ("x", "y") and lower[1:].isdigit():
            places.setdefault(lower[1:], {})[lower[0]] = index
        elif lower.endswith(("_x", "_y")) and len(lower) > 2:
            places.setdefault(column[:-2], {})[lower[-1]] = index
        elif lower not in ("shape", "id", "image", "name"):
            raise BruleError(
                f"{path}, line 1: {column!r} is not a landmark; name columns x0, y0, … or nose_x, nose_y, …"
            )
    for name, pair in places.items():
        if len(pair) != 2:
            raise BruleError(f"{path}, line 1: the landmark {name!r} has only one of x and y; add the other column")
    if not places:
        raise BruleError(f"{path}, line 1: names no landmark; name columns x0, y0, … or nose_x, nose_y, …")
    shapes = [[_pair([row[at["x"]], row[at["y"]]], where) for at in places.values()] for where, row in lines]
    names = None if all(name.isdigit() for name in places) else list(places)
    return _named(names, np.array(shapes), path)


def _named(names: Sequence[object] | None, shapes: Points, path: Path) -> Shapes:
    if names is None:
        return None, shapes
    words = [str(name).strip() for name in names]
    if len(words) != shapes.shape[1] or len(set(words)) != len(words) or not all(words):
        raise BruleError(f"{path}: names must name each of the {shapes.shape[1]} landmarks once; correct them")
    return words, shapes


def _pair(values: Iterable[object], where: str) -> list[float]:
    values = list(values)
    try:
        if any(isinstance(value, bool) or not isinstance(value, int | float | str) for value in values):
            raise ValueError
        pair = [float(value) for value in values if isinstance(value, int | float | str)]
    except (ValueError, OverflowError):
        pair = []
    if len(pair) != 2 or not all(map(math.isfinite, pair)):
        shown = " ".join(map(str, values))[:60]
        raise BruleError(f"{where}: {shown!r} is not a landmark; write two finite numbers, x and y")
    return pair


def _text(path: Path) -> str:
    """A text file, whatever its bytes. What is not UTF-8 (or marked UTF-16) becomes a character that no number has."""
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise BruleError(f"{path}: does not exist; correct the path") from None
    except OSError as error:
        raise BruleError(f"{path}: cannot be read ({error.strerror}); correct the path or its permissions") from None
