"""The template: a head in millimetres, as a surface over (angle, height), and the landmarks of its face.

Frame: x to the right of the picture, y down, z towards the viewer; the origin lies between the eyes, on the skin. The
head's vertical axis runs through (0, ·, AXIS). The surface is a stack of superellipses, closed by a crown above and by
the underside of the jaw below; nose, sockets, cheeks, lips and chin are bumps added along z.
"""

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
