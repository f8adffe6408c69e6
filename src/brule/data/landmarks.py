"""Landmark files: .pts, CSV and JSON, read into arrays of (x, y), y down, with what they say about the landmarks.

The landmarks of images are `.pts` files: pixels count from 1 in the file, and from 0 (the centre of the first pixel) in
memory. Unpaired shapes may have any unit, the same for x and y, because each is scaled by its own box before use.
"""

import csv
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.data.download import is_archive, unpacked
from brule.data.faults import attempt, raise_all
from brule.data.forms import recognise
from brule.data.forms.objects import File, Sizes, gather, nothing_known
from brule.data.labels import Labels, Points, as_names, as_point
from brule.data.schemes import Scheme
from brule.documents import parse_json, read_text
from brule.errors import BruleError, counted, quoted

__all__ = ["Labels", "Points", "format_pts", "read_pts", "read_shapes", "to_json"]
_READ_AS_JSON = '{"names": [...], "shapes": [[[x, y], ...], ...]}'


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


def read_shapes(path: Path | str, sizes: Sizes = nothing_known) -> Labels:
    """The landmarks of objects: unpaired shapes, or the labels of images where the file names these.

    - a folder, zip or tar of `.pts`, or one `.pts`;
    - JSON: {"names": [...], "shapes": [[[x, y], ...], ...]}, names optional. "edges" are the pairs of landmarks that
      pictures join, "pairs" those that a mirror swaps, "normaliser" the pair whose distance divides the NME; a landmark
      is written as its name or its index. "images" and "sizes" name each shape's image and its [width, height];
    - CSV, long: columns shape, name, x, y, one landmark per row;
    - CSV, wide: one shape per row, columns x0, y0, x1, y1, … or nose_x, nose_y, …; shape, id and image are ignored;
    - the files of labelling tools, told by their content: COCO keypoints, CVAT for images, Label Studio, labelme,
      DeepLabCut's CSV, TPS; also a folder, zip or tar of them. Each complete object counts, even several of an image.

    `sizes`: of images, which some of these files need (the height for TPS). Raises BruleError naming file and line if
    the content has none of these forms, is not finite, or the shapes differ in K.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, path, sizes)
    if is_archive(path):
        with tempfile.TemporaryDirectory() as workspace, unpacked(path, Path(workspace)) as folder:
            return _read_folder(folder, path, sizes)
    if path.suffix.lower() == ".pts":
        return Labels(read_pts(path)[None])
    if found := recognise.read(path, sizes):
        return gather([found], path)
    if own := _OWN.get(path.suffix.lower()):
        return own(path)
    raise BruleError(
        f"{path}: not a file of landmark shapes; give a folder, zip or tar of .pts, one .pts, a .csv or a .json, or "
        "the file of COCO keypoints, CVAT for images, Label Studio, labelme, DeepLabCut (.csv) or TPS"
    )


def to_json(labels: Labels) -> dict[str, Any]:
    """The plain mapping that `read_shapes` reads from JSON: the inverse of it."""
    scheme, raw = labels.scheme, dict[str, Any]()
    if scheme:
        pairs = [[k, other] for k, other in enumerate(scheme.flip or ()) if k < other]
        edges = [list(edge) for edge in scheme.edges]
        raw |= {"names": list(scheme.names), "edges": edges, "pairs": pairs}
        raw |= {"normaliser": list(scheme.normaliser)} if scheme.normaliser else {}
    raw |= {"images": list(labels.images)} if labels.images else {}
    raw |= {"sizes": [list(size) for size in labels.sizes]} if labels.sizes else {}
    return raw | {"shapes": labels.points.tolist()}


def _read_folder(folder: Path, origin: Path, sizes: Sizes) -> Labels:
    every = [file for file in sorted(folder.rglob("*")) if file.name[0] != "." and file.is_file()]
    found = [file for file in every if file.suffix.lower() == ".pts"]
    if not found:
        return _read_tool(every, origin, sizes)
    read = [attempt(partial(read_pts, file)) for file in found]
    shapes = [shape for shape in read if not isinstance(shape, BruleError)]
    usual = Counter(map(len, shapes)).most_common(1)[0][0] if shapes else 0
    failed = []
    for file, shape in zip(found, read, strict=True):
        if isinstance(shape, BruleError):
            failed.append(shape)
        elif len(shape) != usual:
            failed.append(
                BruleError(f"{file}: has {counted(len(shape), 'landmark')}, most have {usual}; make them agree")
            )
    raise_all(failed)
    return Labels(np.stack(shapes))


def _read_tool(every: Sequence[Path], origin: Path, sizes: Sizes) -> Labels:
    """The files of a labelling tool in a folder, or one file of shapes, among whatever else lies there."""
    read = (recognise.read(file, sizes) for file in every if file.suffix.lower() in recognise.SUFFIXES)
    found: list[File] = [each for each in read if each is not None]
    own = [file for file in every if file.suffix.lower() in _OWN]
    if not found and len(own) == 1:
        return _OWN[own[0].suffix.lower()](own[0])
    if not found:
        raise BruleError(
            f"{origin}: holds no .pts file, nor any of COCO keypoints, CVAT for images, Label Studio, labelme, "
            "DeepLabCut (.csv) or TPS; give the folder that holds the landmark shapes"
        )
    return gather(found, origin)


def _read_json(path: Path) -> Labels:
    raw = parse_json(read_text(path), path)
    if not isinstance(raw, dict) or not isinstance(raw.get("shapes"), list) or not raw["shapes"]:
        raise BruleError(f"{path}: holds no shapes; write {_READ_AS_JSON}")
    shapes: list[list[list[float]]] = []
    for index, shape in enumerate(raw["shapes"]):
        if not isinstance(shape, list) or not all(isinstance(point, list) for point in shape) or not shape:
            raise BruleError(f"{path}: shape {index} is not a list of [x, y]; write {_READ_AS_JSON}")
        shapes.append([as_point(point, f"{path}: shape {index}") for point in shape])
        if len(shape) != len(shapes[0]):
            raise BruleError(
                f"{path}: shape {index} has {counted(len(shape), 'landmark')}, not {len(shapes[0])}; make them agree"
            )
    points = np.array(shapes)
    images, sizes = _images(raw.get("images"), len(points), path), _sizes(raw.get("sizes"), len(points), path)
    return Labels(points, scheme_of(raw, points.shape[1], path), images, sizes)


def scheme_of(raw: dict[str, Any], count: int, path: Path | str) -> Scheme | None:
    """What the JSON says of its K landmarks: names, edges, pairs and normaliser. None: nothing.

    Raises BruleError, beginning with `path`, if one of them does not fit K landmarks.
    """
    names = raw.get("names")
    if names is not None and not isinstance(names, list):
        raise BruleError(f"{path}: names is not a list; write {_READ_AS_JSON}")
    words = None if names is None else as_names(names, count, path)
    known = Scheme.of(count, words)
    edges, pairs, normaliser = (
        _pairs(raw.get(key), key, known.names, path) for key in ("edges", "pairs", "normaliser")
    )
    if words is None and edges is None and pairs is None and normaliser is None:
        return None
    flip = known.flip
    if pairs is not None:
        swapped = list(range(count))
        for one, other in pairs:
            swapped[one], swapped[other] = other, one
        flip = tuple(swapped) if pairs else None
    return Scheme(
        known.names,
        flip,
        known.normaliser if normaliser is None else normaliser[0],
        known.edges if edges is None else tuple(edges),
    )


def _pairs(value: Any, key: str, names: Sequence[str], path: Path | str) -> list[tuple[int, int]] | None:
    """Pairs of landmarks, each written as a name or an index; `normaliser` is one pair alone."""
    if value is None:
        return None
    index = {name: k for k, name in enumerate(names)} | {k: k for k in range(len(names))}
    pairs = []
    for pair in [value] if key == "normaliser" else value if isinstance(value, list) else [value]:
        ends = pair if isinstance(pair, list) and all(isinstance(end, str | int) for end in pair) else []
        if len(ends) != 2 or len(set(map(index.get, ends))) != 2 or not all(end in index for end in ends):
            raise BruleError(f"{path}: {key}: {quoted(pair)} is not a pair of landmarks; write two names or indices")
        pairs.append((index[ends[0]], index[ends[1]]))
    if key == "pairs" and len({end for pair in pairs for end in pair}) != 2 * len(pairs):
        raise BruleError(f"{path}: pairs: a landmark stands in two pairs; let each landmark have one partner")
    return pairs


def _images(value: Any, count: int, path: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != count or not all(isinstance(name, str) for name in value):
        raise BruleError(f"{path}: images does not name the image of each of the {count} shapes; correct or remove it")
    return tuple(value)


def _sizes(value: Any, count: int, path: Path) -> tuple[tuple[int, int], ...]:
    if value is None:
        return ()
    sizes = value if isinstance(value, list) else []
    if len(sizes) != count or not all(
        isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
        for size in sizes
    ):
        raise BruleError(
            f"{path}: sizes is not the [width, height] of each of the {count} shapes; correct or remove it"
        )
    return tuple((size[0], size[1]) for size in sizes)


def _read_csv(path: Path) -> Labels:
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
    return _named(list(names), np.array([[points[each] for each in names] for points in table.values()]), path)


def _wide(path: Path, columns: list[str], lines: list[tuple[str, list[str]]]) -> Labels:
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
                f"{path}, line 1: {quoted(column)} is not a landmark; name columns x0, y0, … or nose_x, nose_y, …"
            )
    for name, pair in places.items():
        if len(pair) != 2:
            raise BruleError(
                f"{path}, line 1: the landmark {quoted(name)} has only one of x and y; add the other column"
            )
    if not places:
        raise BruleError(f"{path}, line 1: names no landmark; name columns x0, y0, … or nose_x, nose_y, …")
    shapes = [[as_point([row[at["x"]], row[at["y"]]], where) for at in places.values()] for where, row in lines]
    names = None if all(name.isdigit() for name in places) else list(places)
    return _named(names, np.array(shapes), path)


def _named(names: Sequence[object] | None, shapes: Points, path: Path) -> Labels:
    return Labels(shapes, None if names is None else Scheme.of(shapes.shape[1], as_names(names, shapes.shape[1], path)))


_OWN = {".json": _read_json, ".csv": _read_csv}
"""The forms of brule itself."""
