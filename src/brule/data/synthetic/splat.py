"""A surface on a grid → a picture: fields on a dense grid, a depth buffer, and averages of what is seen."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from brule.data.synthetic.mesh import Single, grid

SPACING = 0.84
"""Distance of dense grid points in pixels, seen straight on; hair's volume spreads them further apart."""
SKIN_DEPTH = 4.0
"""Points at most this far (mm) behind the foremost of their pixel count as seen."""


def _interpolation(arc: NDArray[np.float64], step: float) -> tuple[Single, NDArray[np.float64]]:
    """(D, N) linear interpolation from nodes at `arc` (mm) to uniform steps, and the steps' positions in node units."""
    where = np.linspace(0.0, arc[-1], int(np.ceil(arc[-1] / step)) + 1)
    node = np.interp(where, arc, np.arange(len(arc)))
    low = np.minimum(node.astype(int), len(arc) - 2)
    weights = np.zeros((len(where), len(arc)), dtype=np.float32)
    rows = np.arange(len(where))
    weights[rows, low], weights[rows, low + 1] = 1.0 - (node - low), node - low
    return weights, node


@cache
def lattice(level: int) -> tuple[Single, Single, NDArray[np.float64]]:
    """Row weights (D_r, R), column weights (D_c, C), and the dense columns' positions in coarse ones.

    level: the resolution needed, in eighths of an octave of pixels a millimetre.
    """
    points = np.moveaxis(grid().points, 0, -1).astype(np.float64)
    step = SPACING / 2.0 ** (level / 8)
    rows = np.linalg.norm(np.diff(points, axis=0), axis=-1)[:, np.abs(grid().angle) < 1.2].max(axis=1)
    rows[: np.searchsorted(grid().height[:, 0], -60.0)] *= 1.35  # hair stands out there
    columns = np.percentile(np.linalg.norm(np.diff(points, axis=1), axis=-1)[12:], 70, axis=0)
    weights_r, _ = _interpolation(np.concatenate([[0.0], np.cumsum(rows)]), step)
    weights_c, node = _interpolation(np.concatenate([[0.0], np.cumsum(columns)]), step)
    return weights_r, weights_c, node


def densify(fields: Single, columns: slice, scale: float) -> Single:
    """(F, R, C') coarse fields on those columns → (F, D_r, D) dense ones, for a view of `scale` pixels a millimetre."""
    weights_r, weights_c, node = lattice(int(np.ceil(8 * np.log2(scale))))
    low, high = np.searchsorted(node, [columns.start, columns.stop - 1 + 1e-9])
    rows = np.matmul(weights_r, fields).reshape(-1, fields.shape[2])
    dense = rows @ weights_c[low:high, columns].T
    return np.asarray(dense.reshape(len(fields), len(weights_r), -1), dtype=np.float32)


def splat(places: Single, channels: Single, size: int) -> tuple[Single, Single, Single]:
    """What a picture of S² pixels shows of N surface points.

    places (4, N): x, y in pixels, depth in mm, facing > 0 towards the viewer; channels (C, N) → means (C, S, S) of the
    points seen in each pixel, cover (S, S) 0 or 1, depth (S, S) of the foremost.
    """
    x, y, depth, facing = places
    column, row = (x + np.float32(0.5)).astype(np.int32), (y + np.float32(0.5)).astype(np.int32)
    inside = np.flatnonzero((facing > 0) & (x > -0.5) & (column < size) & (y > -0.5) & (row < size))
    cell, depth = (row * size + column)[inside], depth[inside]
    front = np.full(size * size, -1e6, dtype=np.float32)
    np.maximum.at(front, cell, depth)
    kept = depth > front[cell] - np.float32(SKIN_DEPTH)
    cell, seen = cell[kept], inside[kept]
    count = np.bincount(cell, minlength=size * size)
    share = np.maximum(count, 1)
    means = [np.bincount(cell, weights=channel[seen], minlength=size * size) / share for channel in channels]
    return (
        np.array(means, dtype=np.float32).reshape(-1, size, size),
        (count > 0).astype(np.float32).reshape(size, size),
        front.reshape(size, size),
    )


def soften(picture: Single) -> Single:
    """The 3×3 binomial mean (1 2 1)⊗(1 2 1)/16 of (…, S, S), borders repeated."""
    rows = np.concatenate([picture[..., :1, :], picture, picture[..., -1:, :]], axis=-2)
    rows = 0.25 * (rows[..., :-2, :] + rows[..., 2:, :]) + 0.5 * rows[..., 1:-1, :]
    both = np.concatenate([rows[..., :1], rows, rows[..., -1:]], axis=-1)
    return np.asarray(0.25 * (both[..., :-2] + both[..., 2:]) + 0.5 * both[..., 1:-1], dtype=np.float32)
