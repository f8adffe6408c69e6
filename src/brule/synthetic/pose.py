"""From the head's frame to the picture: rotation, weak perspective, placement, and the visible jaw contour."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brule.synthetic.factors import Pose, Shape
from brule.synthetic.head import AXIS, LANDMARKS, Array
from brule.synthetic.mesh import PARALLEL, Track, track

PIVOT = np.array([0.0, 40.0, AXIS])
"""The point about which the head turns, mm."""
FILL, LIFT = 0.737, 2 / 52
"""The crop that the picture leaves room for: the paper's protocol."""


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """(3, 3), degrees: yaw > 0 turns the face to the picture's right, pitch > 0 downwards, roll > 0 clockwise."""
    a, b, c = np.deg2rad([yaw, pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn, dtype=np.float64)


Points = TypeVar("Points", NDArray[np.float64], NDArray[np.float32])


@dataclass(frozen=True)
class View:
    """A head's points (mm) → the picture (pixels, 0-based pixel centres) and their depth (mm, towards the viewer)."""

    turn: Array  # (3, 3)
    distance: float  # mm
    scale: float  # pixels a millimetre
    offset: Array  # (2,) pixels

    def camera(self, points: Points) -> Points:
        """(3, …) mm → (3, …): x, y in mm on the picture plane after perspective, depth in mm."""
        flat = points.reshape(3, -1)
        turned = self.turn.astype(points.dtype) @ flat - (self.turn @ PIVOT).astype(points.dtype)[:, None]
        turned[:2] *= self.distance / (self.distance - turned[2])
        return np.asarray(turned.reshape(points.shape), dtype=points.dtype)

    def __call__(self, points: Points) -> Points:
        """(3, …) mm → (3, …): x, y in pixels, depth in mm."""
        seen = self.camera(points)
        for component, start in zip(seen, self.offset.tolist(), strict=False):
            component *= points.dtype.type(self.scale)
            component += points.dtype.type(start)
        return seen


def tracked(shape: Shape) -> Array:
    """The tracked points of this identity and expression, (N, 3) mm."""
    points = track()
    moved = np.concatenate([shape.identity, shape.expression]) @ points.modes
    return np.asarray(points.points + moved.reshape(-1, 3), dtype=np.float64)


def contour(parallels: Array, roll: float) -> Array:
    """The jaw as annotators mark it: on each parallel the point that lies furthest out in the picture.

    parallels (17·PARALLEL, 2) in any picture unit → (17, 2). On the side that faces the viewer this is the jaw's own
    edge, on the far side the border of the visible face.
    """
    outward = LANDMARKS[:17] - np.array([0.0, 30.0])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    outward = outward @ rotation(0.0, 0.0, roll)[:2, :2].T
    lines = parallels.reshape(17, PARALLEL, 2)
    furthest = np.einsum("kpc,kc->kp", lines, outward).argmax(axis=1)
    return np.asarray(lines[np.arange(17), furthest], dtype=np.float64)


def place(pose: Pose, points: Array, size: int) -> tuple[View, Array]:
    """The view that puts the tracked points' face where the pose says, and its landmarks (68, 2) in pixels."""
    parts: Track = track()
    view = View(rotation(pose.yaw, pose.pitch, pose.roll), pose.distance, 1.0, np.zeros(2))
    seen = view.camera(points.T)[:2].T
    marks = seen[parts.slices["landmarks"]].copy()
    marks[:17] = contour(seen[parts.slices["parallels"]], pose.roll)
    low, high = marks.min(axis=0), marks.max(axis=0)
    width = high[0] - low[0]
    scale = pose.fill * size / width
    centre = (low + high) / 2 - np.array([0.0, LIFT * width])
    slack = max(0.0, size - pose.fill * size / FILL) / 2
    target = (size - 1) / 2 + np.array(pose.shift) * slack
    offset = target - centre * scale
    return View(view.turn, view.distance, scale, offset), marks * scale + offset
