"""A template head in millimetres: its surface, how it deforms, and where it is sampled.

Frame: x to the right of the picture, y down, z towards the viewer; the origin lies between the eyes, on the skin. The
head's vertical axis runs through (0, ·, AXIS). The surface is a stack of superellipses, closed by a crown above and by
the underside of the jaw below; nose, sockets, cheeks, lips and chin are bumps added along z.

Heads differ and move by linear modes, displacement fields (mm) over the template's points:
shape(c) = template + Σ c_m · mode_m. The mesh, the landmarks and every tracked point obey this one formula, which is
what makes the landmarks exact. An identity coefficient counts standard deviations; an expression mostly runs from 0 to
1.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Real = TypeVar("Real", NDArray[np.float64], NDArray[np.float32])

AXIS = -95.0
"""z of the head's vertical axis, mm."""
EXPONENT = 2.35
"""Of the superellipses: above 2, so that the front of the face is flatter than an ellipse."""
CROWN = -40.0
"""Above this y (mm) the skull is an ellipsoid."""
MOUTH = 71.6
"""y of the line between the closed lips, mm."""
EYE = np.array([31.0, 0.0])
"""The centre of the eye at the picture's right, mm."""

_HEIGHTS = [CROWN, 0, 17, 35, 53, 70, 85, 99, 108, 114]
_WIDTHS = [78, 77, 76, 74, 71, 66.5, 61.5, 57.5, 55, 53]
_DEPTHS = [97, 95, 96, 97, 98, 97, 95, 92, 89, 86]
_EDGE_ANGLES = np.deg2rad([0, 20, 38, 54, 66, 78, 90, 110, 180])
_EDGE_HEIGHTS = [113, 109.5, 101, 88.5, 75.5, 63, 54, 48, 48]


def blob(x: Array, y: Array, centre: tuple[float, float], spread: tuple[float, float]) -> Array:
    """exp(−((x−cx)/sx)²/2 − ((y−cy)/sy)²/2)."""
    return np.exp(-0.5 * ((x - centre[0]) / spread[0]) ** 2 - 0.5 * ((y - centre[1]) / spread[1]) ** 2)


def ramp(start: float, end: float, value: Real) -> Real:
    """A smooth step: 0 before start, 1 after end (start > end: the other way round)."""
    t = np.clip((value - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=value.dtype)


def extent(y: Array) -> tuple[Array, Array]:
    """Half width and half depth (mm) of the horizontal section at height y."""
    dome = np.sqrt(np.clip(1.0 - (np.minimum(y - CROWN, 0.0) / 92.0) ** 2, 0.0, 1.0))
    return np.interp(y, _HEIGHTS, _WIDTHS) * dome, np.interp(y, _HEIGHTS, _DEPTHS) * dome


def jaw_edge(angle: Array) -> Array:
    """y (mm) of the lower edge of the jaw, and further back of the skull, at an angle (radians; 0: the front)."""
    return np.interp(np.abs(angle), _EDGE_ANGLES, _EDGE_HEIGHTS)


def ring(angle: Array, y: Array) -> Array:
    """The bare superellipse: (..., 3) mm."""
    sine, cosine = np.sin(angle), np.cos(angle)
    norm = (np.abs(sine) ** EXPONENT + np.abs(cosine) ** EXPONENT) ** (1.0 / EXPONENT)
    width, depth = extent(y)
    return np.stack([width * sine / norm, np.broadcast_to(y, angle.shape), AXIS + depth * cosine / norm], axis=-1)


def angle_of(x: Array, y: Array) -> Array:
    """The angle (radians) of the front surface's point seen at (x, y) from straight ahead."""
    width, _ = extent(y)
    across = np.clip(np.abs(x) / width, 0.0, 1.0)
    return np.sign(x) * np.arctan2(across, (1.0 - across**EXPONENT) ** (1.0 / EXPONENT))


def _nose(x: Array, y: Array) -> Array:
    across = np.abs(x)
    at = [-14, -4, 2, 14, 26, 35, 40, 45, 48.5, 52, 56]
    height = np.interp(y, at, [0, 1.5, 3.5, 8.5, 14, 19.5, 20.5, 16.5, 11, 3, 0])
    width = np.interp(y, [-14, 2, 14, 28, 38, 46, 52], [9, 8.0, 8.5, 10, 11.5, 12, 11.5])
    wings = 6.5 * blob(across, y, (12.5, 44.0), (4.6, 4.8))
    return height * np.exp(-(np.abs(x / width) ** 2.0)) + wings


def _relief(x: Array, y: Array) -> Array:
    across = np.abs(x)
    sockets = -8.0 * blob(across, y, (27.0, -4.0), (15.0, 8.0)) + 5.0 * blob(across, y, (31.0, 0.5), (10.0, 7.0))
    bones = 4.0 * blob(across, y, (34.0, -21.0), (20.0, 6.0)) + 4.0 * blob(across, y, (44.0, 28.0), (14.0, 13.0))
    fold = -2.2 * blob(across - 0.5 * (y - 60.0), y, (24.0, 60.0), (3.5, 11.0))
    upper = 5.5 * blob(x, y, (0.0, 67.5), (15.0, 3.8)) - 1.2 * blob(x, y, (0.0, 58.0), (2.8, 4.5))
    lower = 6.5 * blob(x, y, (0.0, 77.5), (13.0, 4.0)) - 5.0 * blob(x, y, (0.0, 89.0), (17.0, 4.5))
    chin = 8.0 * blob(x, y, (0.0, 102.0), (14.0, 7.5)) + 3.0 * blob(x, y, (0.0, 72.0), (24.0, 16.0))
    temples = -3.0 * blob(across, y, (62.0, -28.0), (9.0, 18.0))
    return sockets + bones + fold + upper + lower + chin + temples


def surface(angle: Array, y: Array) -> Array:
    """The template's skin at (angle, y), without ears: (..., 3) mm."""
    points = ring(angle, y)
    front = ramp(0.15, 0.55, np.cos(angle))
    points[..., 2] += front * (_nose(points[..., 0], points[..., 1]) + _relief(points[..., 0], points[..., 1]))
    return points


def ear(angle: Array, y: Array) -> Array:
    """How far (mm, along x away from the head) the ears stand out at (angle, y)."""
    back = np.abs(np.rad2deg(angle))
    tilt = y + 0.35 * (back - 97.0)
    profile = ramp(-20.0, -8.0, tilt) * ramp(46.0, 26.0, tilt) * (17.0 - 0.12 * np.abs(tilt - 5.0))
    return np.asarray(np.sign(angle) * ramp(89.0, 97.0, back) * ramp(112.0, 102.0, back) * profile)


def _both(right: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(-x, y) for x, y in reversed(right)] + right


def _landmarks() -> Array:
    jaw = [(18.5, 109.0), (34.5, 100.5), (49.0, 87.5), (60.0, 71.5)]
    jaw += [(67.0, 54.0), (71.0, 36.0), (73.5, 18.0), (74.5, 0.0)]
    brow = [(10.5, -16.0), (21.5, -20.0), (34.0, -21.0), (46.5, -18.5), (56.5, -11.5)]
    nose = [(0.0, y) for y in (0.0, 12.5, 25.0, 38.0)] + [(-14.5, 47), (-7.5, 49.5), (0, 51), (7.5, 49.5), (14.5, 47)]
    eye = [(16.5, 2.0), (25.5, -5.2), (35.5, -5.2), (45.0, 0.2), (36.0, 4.9), (26.0, 5.2)]
    other = [(-eye[k][0], eye[k][1]) for k in (3, 2, 1, 0, 5, 4)]
    upper = _both([(5.0, 63.8), (13.5, 66.3), (25.5, 70.6)])
    outer = [*upper[:3], (0.0, 65.0), *upper[3:], (15.5, 79.0), (7.0, 82.6), (0.0, 83.5), (-7.0, 82.6), (-15.5, 79.0)]
    inner = [(-21.5, 70.6), (-7.5, 71.0), (0, 71.2), (7.5, 71.0), (21.5, 70.6), (7.5, 72.2), (0, 72.3), (-7.5, 72.2)]
    mirrored = [(-x, y) for x, y in reversed(jaw)]
    jaw = [*mirrored, (0.0, 113.0), *jaw]
    return np.array([*jaw, *_both(brow), *nose, *other, *eye, *outer, *inner], dtype=np.float64)


LANDMARKS: Array = _landmarks()
"""(68, 2) mm: the landmarks of the neutral template seen from straight ahead, in iBUG order."""


IDENTITY = (
    "width", "length", "jaw", "chin", "chin_forward", "cheeks", "eye_gap", "eye_size", "eye_height", "eye_tilt",
    "nose_length", "nose_width", "nose_forward", "bridge", "mouth_width", "mouth_height", "lips", "brow_height",
    "brow_arch", "brow_tilt", "depth", "skew", "convex",
)  # fmt: skip
EXPRESSION = (
    "mouth_open", "smile", "pucker", "smirk", "jaw_side", "upper_lip", "brow_raise", "brow_knit", "eye_close",
)  # fmt: skip
NAMES = IDENTITY + EXPRESSION


def _vector(like: Array, x: Array | float = 0.0, y: Array | float = 0.0, z: Array | float = 0.0) -> Array:
    return np.stack([np.broadcast_to(component, like.shape) for component in (x, y, z)], axis=-1)


def _build(x: Array, y: Array, z: Array) -> dict[str, Array]:
    across, side = np.abs(x), np.sign(x)
    eye = blob(across, y, (31.0, 0.0), (16.0, 9.0))
    brow = blob(across, y, (33.0, -20.0), (26.0, 9.0)) * ramp(-4.0, -11.0, y)
    mouth = blob(x, y, (0.0, 72.0), (26.0, 14.0))
    front = ramp(-60.0, -30.0, z)
    out = across - 31.0
    return {
        "width": _vector(x, 0.05 * x),
        "length": _vector(x, 0.0, 0.055 * np.maximum(y, -10.0)),
        "jaw": _vector(x, 0.075 * x * ramp(10.0, 90.0, y)),
        "chin": _vector(x, 0.0, 4.5 * ramp(74.0, 112.0, y)),
        "chin_forward": _vector(x, 0.0, 0.0, 4.5 * ramp(55.0, 110.0, y)),
        "cheeks": _vector(
            x, 0.05 * x * np.exp(-(((y - 50) / 30) ** 2)), 0.0, 2.5 * blob(across, y, (44, 45), (14, 18))
        ),
        "eye_gap": _vector(x, side * 1.7 * eye),
        "eye_size": _vector(x, side * 0.06 * out * eye, 0.16 * y * eye),
        "eye_height": _vector(x, 0.0, 1.8 * eye),
        "eye_tilt": _vector(x, 0.0, -0.08 * out * eye),
        "nose_length": _vector(x, 0.0, 3.0 * blob(x, y, (0.0, 46.0), (18.0, 13.0))),
        "nose_width": _vector(x, 0.15 * x * blob(x, y, (0.0, 45.0), (16.0, 11.0))),
        "nose_forward": _vector(x, 0.0, 0.0, 3.5 * blob(x, y, (0.0, 38.0), (10.0, 13.0))),
        "bridge": _vector(x, 0.0, 0.0, 2.2 * blob(x, y, (0.0, 12.0), (9.0, 13.0))),
        "mouth_width": _vector(x, 0.08 * x * mouth),
        "mouth_height": _vector(x, 0.0, 2.3 * blob(x, y, (0.0, 72.0), (34.0, 13.0))),
        "lips": _vector(x, 0.0, 0.17 * (y - MOUTH) * blob(x, y, (0.0, 72.0), (24.0, 11.0)), 1.2 * mouth),
        "brow_height": _vector(x, 0.0, -2.0 * brow),
        "brow_arch": _vector(x, 0.0, -2.2 * blob(across, y, (40.0, -21.0), (11.0, 8.0)) * ramp(-4.0, -11.0, y)),
        "brow_tilt": _vector(x, 0.0, 0.09 * out * brow),
        "depth": _vector(x, 0.0, 0.0, 0.06 * (z - AXIS)),
        "skew": _vector(x, 0.018 * np.maximum(y, 0.0) * front, 0.012 * x * front),
        "convex": _vector(x, 0.0, 0.0, -4.0 * ((y - 40.0) / 70.0) ** 2 * front),
        **_expressions(x, y, z),
    }


def _expressions(x: Array, y: Array, z: Array) -> dict[str, Array]:
    across, side = np.abs(x), np.sign(x)
    brow = blob(across, y, (33.0, -20.0), (26.0, 10.0)) * ramp(-4.0, -11.0, y)
    corner = blob(across, y, (27.0, 72.0), (12.0, 10.0))
    below, lip = (y > MOUTH + 0.1).astype(float), np.exp(-(((y - 72.0) / 16.0) ** 2))
    taper = np.clip(1.0 - (x / 22.0) ** 2, 0.0, 1.0) ** 0.7
    jaw = np.exp(-0.5 * (x / 44.0) ** 2) * ramp(50.0, 112.0, y) * ramp(-95.0, -30.0, z)
    drop = 22.0 * below * lip * taper + 20.0 * (1.0 - lip * below) * jaw * ramp(66.0, 92.0, y) + 3.0 * corner
    raised = np.where(y <= MOUTH + 0.1, 1.0, 0.0) * np.exp(-(((y - 70.0) / 9.0) ** 2)) * taper
    lids = np.clip(1.0 - ((across - 31.0) / 15.2) ** 2, 0.0, 1.0) ** 0.6
    shut = np.where(y < 3.4, 3.4 - y, 0.5 * (3.4 - y)) * lids * np.exp(-0.5 * (y / 5.5) ** 2)
    knit = blob(across, y, (13.0, -17.0), (10.0, 8.0)) * ramp(-4.0, -11.0, y)
    cheek = blob(across, y, (42.0, 42.0), (14.0, 14.0))
    smirk = blob(x, y, (27.0, 72.0), (14.0, 11.0))
    return {
        "mouth_open": _vector(x, -0.10 * x * corner, drop - 2.0 * raised, -5.0 * jaw),
        "smile": _vector(
            x, side * 7.0 * corner, -7.5 * corner - 3.0 * cheek + 3.0 * below * lip * taper - 0.5 * raised,
            -4.0 * corner + 4.5 * cheek,
        ),
        "pucker": _vector(x, -0.22 * x * blob(x, y, (0, 72), (24, 16)), 0.0, 5.0 * blob(x, y, (0, 72), (14, 12))),
        "smirk": _vector(x, 2.5 * smirk, -4.0 * smirk),
        "jaw_side": _vector(x, 5.0 * ramp(60.0, 112.0, y) * ramp(-95.0, -30.0, z)),
        "upper_lip": _vector(x, 0.0, -3.5 * raised - 1.2 * blob(across, y, (13.0, 46.0), (8.0, 8.0))),
        "brow_raise": _vector(x, 0.0, -6.0 * brow),
        "brow_knit": _vector(x, -side * 2.5 * knit, 3.5 * knit + 1.5 * brow),
        "eye_close": _vector(x, 0.0, shut),
    }  # fmt: skip


def basis(points: Array) -> Array:
    """The modes at template points (N, 3) mm: (M, N, 3) mm, in the order of NAMES."""
    fields = _build(points[:, 0], points[:, 1], points[:, 2])
    return np.stack([fields[name] for name in NAMES])


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
    """The landmarks (the jaw's are refined by view.place) and what the drawn features hang on."""
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
