"""brule's own JSON of shapes: {"names": [...], "shapes": [[[x, y], ...], ...]} and what else a scheme says.

"edges" are the pairs of landmarks that pictures join, "pairs" those that a mirror swaps, "normaliser" the pair whose
distance divides the NME. "images" and "sizes" name each shape's image and its [width, height].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brule.data.labels import Labels, as_names, as_point
from brule.data.schemes import Scheme
from brule.documents import parse_json, read_text
from brule.errors import BruleError, counted, quoted

_READ_AS = '{"names": [...], "shapes": [[[x, y], ...], ...]}'


def read(path: Path) -> Labels:
    """The shapes of a file. Raises BruleError naming it and the shape."""
    raw = parse_json(read_text(path), path)
    if not isinstance(raw, dict) or not isinstance(raw.get("shapes"), list) or not raw["shapes"]:
        raise BruleError(f"{path}: holds no shapes; write {_READ_AS}")
    shapes: list[list[list[float]]] = []
    for index, shape in enumerate(raw["shapes"]):
        if not isinstance(shape, list) or not all(isinstance(point, list) for point in shape) or not shape:
            raise BruleError(f"{path}: shape {index} is not a list of [x, y]; write {_READ_AS}")
        shapes.append([as_point(point, f"{path}: shape {index}") for point in shape])
        if len(shape) != len(shapes[0]):
            raise BruleError(
                f"{path}: shape {index} has {counted(len(shape), 'landmark')}, not {len(shapes[0])}; make them agree"
            )
    points = np.array(shapes)
    images, sizes = _images(raw.get("images"), len(points), path), _sizes(raw.get("sizes"), len(points), path)
    return Labels(points, scheme_of(raw, points.shape[1], path), images, sizes)


def mapping(labels: Labels) -> dict[str, Any]:
    """What the file of these shapes holds, as plain values: the inverse of `read`."""
    scheme, raw = labels.scheme, dict[str, Any]()
    if scheme:
        pairs = [[k, other] for k, other in enumerate(scheme.flip or ()) if k < other]
        edges = [list(edge) for edge in scheme.edges]
        raw |= {"names": list(scheme.names), "edges": edges, "pairs": pairs}
        raw |= {"normaliser": list(scheme.normaliser)} if scheme.normaliser else {}
    raw |= {"images": list(labels.images)} if labels.images else {}
    raw |= {"sizes": [list(size) for size in labels.sizes]} if labels.sizes else {}
    return raw | {"shapes": labels.points.tolist()}


def scheme_of(raw: dict[str, Any], count: int, path: Path | str) -> Scheme | None:
    """What the JSON says of its K landmarks: names, edges, pairs and normaliser. None: nothing.

    Raises BruleError, beginning with `path`, if one of them does not fit K landmarks.
    """
    names = raw.get("names")
    if names is not None and not isinstance(names, list):
        raise BruleError(f"{path}: names is not a list; write {_READ_AS}")
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
