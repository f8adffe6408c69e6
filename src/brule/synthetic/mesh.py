"""The template, sampled once: a coarse grid for shape and light, and the points that are tracked for drawing."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from brule.synthetic.head import LANDMARKS, Array, angle_of, ear, jaw_edge, ramp, surface
from brule.synthetic.modes import basis

Single = NDArray[np.float32]

REACH = 132.0
"""The grid covers ± this angle, degrees; the back of the head is never seen."""
PARALLEL = 19
"""Samples along each of the 17 parallels, on which the visible jaw contour is sought."""


@dataclass(frozen=True)
class Grid:
    """R×C vertices; rows run from the crown to under the jaw, columns from the picture's left to its right."""

    angle: Array  # (C,) radians
    height: Array  # (R, C) mm, y on the neutral template; constant under the jaw
    under: Array  # (R, C) 0…1: how far under the jaw
    points: Single  # (3, R, C) mm, without ears
    ears: Single  # (R, C) mm along x
    modes: Single  # (M, 3, R, C) mm


@dataclass(frozen=True)
class Track:
    """Named points on the template, moved by the same modes as the grid."""

    points: Array  # (N, 3) mm
    modes: Array  # (M, N*3) mm
    slices: dict[str, slice]


def _columns() -> Array:
    side = np.concatenate([np.arange(0.0, 36.0, 2.7), np.arange(37.0, 84.0, 4.7), np.arange(85.0, 114.0, 3.2)])
    side = np.concatenate([side, [118.0, 125.0, REACH]])
    return np.asarray(np.deg2rad(np.concatenate([-side[:0:-1], side])), dtype=np.float64)


def _rows() -> tuple[Array, Array]:
    """(y of the rows above 40 mm, share of the way from 40 mm to the jaw's edge of the rows below)."""
    dome = -40.0 - 91.5 * np.sin(np.deg2rad(np.linspace(88.0, 8.0, 11)))
    return np.concatenate([dome, np.arange(-40.0, 39.0, 3.3)]), np.linspace(0.0, 1.0, 26)


@cache
def grid() -> Grid:
    """The head's grid."""
    angle = _columns()
    above, share = _rows()
    edge = jaw_edge(angle)
    upper = np.broadcast_to(above[:, None], (len(above), len(angle)))
    y = np.concatenate([upper, 40.0 + share[:, None] * (edge - 40.0)])
    sweep = np.broadcast_to(angle, y.shape)
    points, ears = surface(sweep, y), ear(sweep, y)
    rim, steps = points[-1], np.array([0.04, 0.14, 0.28, 0.46])
    below = rim + steps[:, None, None] * (np.array([0.0, 0.0, -85.0]) - rim) * [1.0, 0.0, 1.0] + [0.0, 1.2, 0.0]
    under = np.concatenate([np.zeros(y.shape), np.broadcast_to((steps / steps[-1])[:, None], (len(steps), len(angle)))])
    points, ears = np.concatenate([points, below]), np.concatenate([ears, np.zeros(below.shape[:2])])
    height = np.concatenate([y, np.broadcast_to(y[-1], (len(steps), len(angle)))])
    modes = basis(points.reshape(-1, 3)).reshape(-1, *points.shape)
    return Grid(angle, height, under, planes(points), ears.astype(np.float32), planes(modes))


def planes(points: Array) -> Single:
    """(…, R, C, 3) → (…, 3, R, C) in single precision: one plane a component is what the drawing works on."""
    return np.ascontiguousarray(np.moveaxis(points, -1, -3), dtype=np.float32)


def _on_face(flat: Array) -> Array:
    return np.asarray(surface(angle_of(flat[..., 0], flat[..., 1]), flat[..., 1]), dtype=np.float64)


def _parallels() -> Array:
    """(17, PARALLEL, 3) mm: from each jaw landmark inwards over the cheek, up to where a turned face can end."""
    jaw = LANDMARKS[:17]
    level = 1.0 - ramp(50.0, 112.0, jaw[:, 1])
    inner = np.stack([jaw[:, 0] * (0.42 + 0.1 * (1 - level)), jaw[:, 1] - 14.0 * (1.0 - level)], axis=-1)
    t = np.linspace(0.0, 1.0, PARALLEL)[None, :, None]
    return _on_face(jaw[:, None] * (1.0 - t) + inner[:, None] * t)


def _pair(*right: tuple[float, float]) -> Array:
    """Points of the picture's right half, mirrored ones first: (2 n, 2)."""
    return np.array([(side * x, y) for side in (-1.0, 1.0) for x, y in right])


@cache
def track() -> Track:
    """The landmarks (the jaw's are refined by pose.landmarks) and what the drawn features hang on."""
    eye = np.array([[-31.0, 0.0, -19.0], [31.0, 0.0, -19.0]])
    parts = {
        "landmarks": _on_face(LANDMARKS),
        "parallels": _parallels().reshape(-1, 3),
        "eyeballs": eye,
        "nostrils": _on_face(_pair((7.0, 49.0))),
        "lids": _on_face(_pair((15.0, -3.0), (24.0, -9.0), (36.0, -9.5), (48.0, -3.5))),
        "fold": _on_face(_pair((15.5, 45.0), (21.0, 54.0), (28.0, 63.0), (31.0, 72.0))),
        "ears": np.array([[-76.0, -3.0, -92.0], [76.0, -3.0, -92.0]]),
    }
    ends = np.cumsum([len(part) for part in parts.values()])
    slices = {name: slice(end - len(parts[name]), end) for name, end in zip(parts, ends.tolist(), strict=True)}
    points = np.concatenate(list(parts.values()))
    modes = basis(points)
    modes[-1, slices["eyeballs"]] = 0.0  # a closing lid does not move the eye behind it
    return Track(points, modes.reshape(len(modes), -1), slices)
