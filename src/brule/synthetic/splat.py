"""A surface on a grid → a picture: fields on a dense grid, a depth buffer, and averages of what is seen."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from brule.synthetic.head import Single, grid

SPACING = 0.84
"""Distance of dense grid points in pixels, seen straight on; hair's volume spreads them further apart."""
LEVELS = 16
"""Steps of an octave in which the dense grid's spacing is fitted to the picture."""
BLOCKS = 4
"""Parts into which the sparse interpolation is cut before it is multiplied out."""
SKIN_DEPTH = 4.0
"""Points at most this far (mm) behind the foremost of their pixel count as seen."""

_AROUND = np.indices((3, 3)).reshape(2, 9, 1) - 1
_BINOMIAL: Single = (2.0 - np.abs(_AROUND)).prod(axis=0).astype(np.float32)


def _interpolation(arc: NDArray[np.float64], step: float) -> tuple[Single, NDArray[np.float64]]:
    """(D, N) linear interpolation from nodes at `arc` (mm) to uniform steps, and the steps' positions in node units."""
    where = np.linspace(0.0, arc[-1], int(np.ceil(arc[-1] / step)) + 1)
    node = np.interp(where, arc, np.arange(len(arc)))
    low = np.minimum(node.astype(int), len(arc) - 2)
    weights = np.zeros((len(where), len(arc)), dtype=np.float32)
    rows = np.arange(len(where))
    weights[rows, low], weights[rows, low + 1] = 1.0 - (node - low), node - low
    return weights, node


@dataclass(frozen=True)
class Axis:
    """Linear interpolation along one axis of the grid: weights (D, N), and the dense points' positions in nodes."""

    weights: Single
    node: NDArray[np.float64]

    def within(self, nodes: slice) -> slice:
        """The dense points between the first and the last of these nodes."""
        low, high = np.searchsorted(self.node, [nodes.start, nodes.stop - 1 + 1e-9]).tolist()
        return slice(low, high)

    def blocks(self, nodes: slice) -> list[tuple[slice, slice, Single]]:
        """The same as BLOCKS small matrices beside the diagonal, all else being 0: dense points (counted from the
        first within), nodes (counted from the first), weights."""
        dense = self.within(nodes)
        bounds = np.linspace(dense.start, dense.stop, BLOCKS + 1).astype(int).tolist()
        parts = []
        for start, stop in pairwise(bounds):
            first, last = int(self.node[start]), min(int(self.node[stop - 1]) + 2, nodes.stop)
            place = slice(start - dense.start, stop - dense.start)
            inner = slice(first - nodes.start, last - nodes.start)
            parts.append((place, inner, self.weights[start:stop, first:last]))
        return parts


@cache
def lattice(level: int) -> tuple[Axis, Axis]:
    """Rows and columns of the dense grid. level: the resolution needed, in LEVELS of an octave of pixels a mm."""
    points = np.moveaxis(grid().points, 0, -1).astype(np.float64)
    step = SPACING / 2.0 ** (level / LEVELS)
    rows = np.linalg.norm(np.diff(points, axis=0), axis=-1)[:, np.abs(grid().angle) < 1.2].max(axis=1)
    rows[: np.searchsorted(grid().height[:, 0], -60.0)] *= 1.35  # hair stands out there
    columns = np.percentile(np.linalg.norm(np.diff(points, axis=1), axis=-1)[12:], 70, axis=0)
    arcs = (np.concatenate([[0.0], np.cumsum(steps)]) for steps in (rows, columns))
    down, across = (Axis(*_interpolation(arc, step)) for arc in arcs)
    return down, across


def fit(scale: float) -> tuple[Axis, Axis]:
    """The lattice for a view of `scale` pixels a millimetre."""
    return lattice(int(np.ceil(LEVELS * np.log2(scale))))


def densify(fields: Single, rows: slice, columns: slice, axes: tuple[Axis, Axis]) -> Single:
    """(F, R', C') coarse fields on those rows and columns → (F, D_r, D_c) dense ones."""
    down, across = axes[0].blocks(rows), axes[1].blocks(columns)
    tall = np.empty((len(fields), down[-1][0].stop, fields.shape[2]), dtype=np.float32)
    for place, nodes, weights in down:
        np.matmul(weights, fields[:, nodes], out=tall[:, place])
    flat = tall.reshape(-1, fields.shape[2])
    dense = np.empty((len(flat), across[-1][0].stop), dtype=np.float32)
    for place, nodes, weights in across:
        np.matmul(flat[:, nodes], weights.T, out=dense[:, place])
    return dense.reshape(*tall.shape[:2], -1)


def visible(places: Single, size: int) -> tuple[slice, slice]:
    """The rows and columns of coarse vertices, places (4, R, C), that leave out what no picture of S² shows."""
    x, y, _, facing = places
    margin = 3.0
    inside = (facing > 0) & (x > -margin) & (x < size + margin) & (y > -margin) & (y < size + margin)
    rows, columns = inside.any(axis=1).nonzero()[0], inside.any(axis=0).nonzero()[0]
    return (
        slice(max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, len(x))),
        slice(max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, x.shape[1])),
    )


def splat(places: Single, channels: Single, size: int) -> tuple[Single, Single, Single]:
    """What a picture of S² pixels shows of N surface points.

    places (4, N): x, y in pixels, depth in mm, facing > 0 towards the viewer; channels (C, N) → means (C, S, S) of the
    points seen in each pixel, cover (S, S) 0 or 1, depth (S, S) of the foremost.
    """
    x, y, depth, facing = places
    column, row = (x + np.float32(1.5)).astype(np.int32), (y + np.float32(1.5)).astype(np.int32)
    column -= 1
    row -= 1
    unsigned = np.uint32(size)  # a negative place is a huge one
    inside = ((facing > 0) & (column.view(np.uint32) < unsigned) & (row.view(np.uint32) < unsigned)).nonzero()[0]
    row *= size
    row += column
    cell, depth = row.take(inside).astype(np.intp), depth.take(inside)
    front = np.full(size * size, -1e6, dtype=np.float32)
    np.maximum.at(front, cell, depth)
    depth += np.float32(SKIN_DEPTH)
    kept = (depth > front.take(cell)).nonzero()[0]
    cell, seen = cell.take(kept), inside.take(kept)
    count = np.bincount(cell, minlength=size * size)
    share = 1.0 / np.maximum(count, 1)
    means = np.empty((len(channels), size * size), dtype=np.float32)
    for mean, channel in zip(means, channels, strict=True):
        np.multiply(np.bincount(cell, channel.take(seen), size * size), share, out=mean, casting="same_kind")
    return (
        means.reshape(-1, size, size),
        (count > 0).astype(np.float32).reshape(size, size),
        front.reshape(size, size),
    )


def bleed(means: Single, cover: Single, where: NDArray[np.bool_]) -> None:
    """Fill `where` beside what is covered, in place: means (C, S, S), by the 1 2 1 mean of the covered neighbours."""
    size = len(cover)
    row, column = (where & (cover == 0)).nonzero()
    near = np.clip(row + _AROUND[0], 0, size - 1) * size + np.clip(column + _AROUND[1], 0, size - 1)
    weights = _BINOMIAL * cover.ravel().take(near)
    weights *= 1.0 / np.maximum(weights.sum(axis=0), np.float32(1 / 2))
    for channel in means:
        channel[row, column] = (channel.ravel().take(near) * weights).sum(axis=0)


def soften(picture: Single) -> Single:
    """The 3×3 binomial mean (1 2 1)⊗(1 2 1)/16 of (…, S, S), borders repeated."""
    pairs = picture[..., 1:, :] + picture[..., :-1, :]
    rows = np.empty(picture.shape, dtype=np.float32)
    np.add(pairs[..., 1:, :], pairs[..., :-1, :], out=rows[..., 1:-1, :])
    for end in (0, -1):
        rows[..., end, :] = pairs[..., end, :] + 2.0 * picture[..., end, :]
    pairs = rows[..., 1:] + rows[..., :-1]
    both = np.empty(picture.shape, dtype=np.float32)
    np.add(pairs[..., 1:], pairs[..., :-1], out=both[..., 1:-1])
    for end in (0, -1):
        both[..., end] = pairs[..., end] + 2.0 * rows[..., end]
    both *= np.float32(1 / 16)
    return both
