"""From the head's frame to the picture: where the head stands, the visible jaw contour, and how it is lit."""

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brule.synthetic.factors import Light, Pose, Shape, Skin
from brule.synthetic.head import AXIS, LANDMARKS, PARALLEL, Array, Single, Track, blob, grid, ramp, track

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


WRAP: Single = np.array([0.42, 0.27, 0.22], dtype=np.float32)
"""How far light creeps round the skin, red further than blue: the glow of skin at the edge of shadow."""


SHADES = (
    "sockets", "nose_base", "lip_base", "left", "right", "bags", "fold", "under", "concha", "blush", "ears", "shine",
)  # fmt: skip


@cache
def _relief(columns: tuple[int, int]) -> Single:
    """Soft masks (12, R·C') in 0…1, in the order of SHADES: where a face shades, reddens or shines."""
    head = grid()
    x, y = head.points[0].astype(np.float64), head.height
    across, back = np.abs(x), np.broadcast_to(np.abs(np.rad2deg(head.angle)), y.shape)
    masks = {
        "sockets": blob(across, y, (25.0, -7.0), (13.0, 6.0)) + 0.6 * blob(across, y, (14.0, 1.0), (5.0, 8.0)),
        "nose_base": blob(x, y, (0.0, 53.5), (12.0, 3.5)) + 0.7 * blob(across, y, (17.5, 46.0), (3.0, 5.0)),
        "lip_base": blob(x, y, (0.0, 87.0), (14.0, 4.0)) + 0.25 * blob(across, y, (28.0, 71.0), (4.0, 4.0)),
        "left": blob(x, y, (-19.0, 36.0), (7.0, 15.0)),
        "right": blob(x, y, (19.0, 36.0), (7.0, 15.0)),
        "blush": blob(across, y, (40.0, 34.0), (14.0, 12.0)) + 0.8 * blob(x, y, (0.0, 42.0), (9.0, 7.0)),
        "bags": blob(across, y - 0.1 * across, (28.0, 9.0), (12.0, 3.5)),
        "fold": blob(across - 0.5 * (y - 60.0), y, (25.0, 60.0), (3.0, 10.0)),
        "shine": 0.35
        + blob(x, y, (0, 34), (6, 16))
        + blob(x, y, (0, -48), (34, 16))
        + blob(across, y, (38, 20), (12, 8)),
    }
    masks = {name: mask * ramp(100.0, 75.0, back) for name, mask in masks.items()}
    masks["ears"] = ramp(88.0, 94.0, back) * blob(back, y, (97.0, 10.0), (9.0, 22.0))
    masks["concha"] = blob(back, y, (95.0, 12.0), (3.0, 9.0))
    masks["under"] = np.clip(2.0 * head.under, 0.0, 1.0) + 0.3 * ramp(98.0, 110.0, y) * (head.under == 0)
    stack = np.stack([masks[name] for name in SHADES])[:, :, slice(*columns)]
    return stack.reshape(len(SHADES), -1).astype(np.float32)


def normals(points: Single) -> Single:
    """Unit normals (3, R, C) of a grid of points (3, R, C), outwards."""
    down, along = np.empty_like(points), np.empty_like(points)
    np.subtract(points[:, 2:], points[:, :-2], out=down[:, 1:-1])
    down[:, 0], down[:, -1] = down[:, 1], down[:, -2]
    np.subtract(points[:, :, 2:], points[:, :, :-2], out=along[:, :, 1:-1])
    along[:, :, 0], along[:, :, -1] = along[:, :, 1], along[:, :, -2]
    normal = np.empty_like(points)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        normal[i] = along[j] * down[k] - along[k] * down[j]
    normal /= np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + np.float32(1e-6)
    return normal


def direction(light: Light) -> Single:
    """Unit vector from the head towards the key light, in the camera's frame."""
    a, e = np.deg2rad([light.azimuth, light.elevation])
    return np.array([np.sin(a) * np.cos(e), -np.sin(e), np.cos(a) * np.cos(e)], dtype=np.float32)


def along(normal: Single, toward: Single) -> Single:
    """Σ_k toward_k · normal_k over the first axis of (3, …)."""
    return np.asarray(toward @ normal.reshape(3, -1), dtype=np.float32).reshape(normal.shape[1:])


def irradiance(normal: Single, light: Light) -> Single:
    """Light (3, …) on surfaces with unit normals (3, …): key with soft terminator, and a brighter sky than ground."""
    column = (3,) + (1,) * (normal.ndim - 1)
    key = (np.array(light.key, np.float32) / (1 + WRAP)).reshape(column)
    lit: Single = along(normal, direction(light)) + WRAP.reshape(column)
    lit *= key
    np.maximum(lit, 0, out=lit)
    lit += (np.float32(0.82) - np.float32(0.18) * normal[1]) * np.array(light.ambient, np.float32).reshape(column)
    return lit


def _weights(light: Light, skin: Skin, yaw: float) -> Single:
    """(3, 12): what each of SHADES darkens, reddens and glosses."""
    steep, side = light.elevation / 65.0, float(np.sin(np.deg2rad(light.azimuth - yaw)))
    dark = [0.24 + 0.24 * steep, 0.2 + 0.26 * steep, 0.12 + 0.26 * steep, 0.4 * max(side, 0.0), 0.4 * max(-side, 0.0)]
    dark += [0.18 * skin.age, 0.22 * skin.age, 0.55, 0.45, 0.0, 0.0, 0.0]
    red = [0.0] * 9 + [0.5 * skin.blush, 0.5, 0.0]
    shine = [0.0] * 11 + [0.2 * light.gloss]
    return np.array([dark, red, shine], np.float32)


def complexion(normal: Single, light: Light, skin: Skin, yaw: float, columns: slice) -> tuple[Single, Single]:
    """Skin as it is lit, and the light itself, both (3, R, C'), for those columns' camera-frame normals."""
    masks = _relief((columns.start, columns.stop))
    dark, red, shine = _weights(light, skin, yaw) @ masks
    half = direction(light) + np.array([0.0, 0.0, 1.0], dtype=np.float32)
    gloss = np.maximum(along(normal, half / np.linalg.norm(half)), 0.0)
    for _ in range(4):
        gloss *= gloss  # to the 16th power
    gloss *= shine.reshape(gloss.shape)
    light_in = irradiance(normal, light)
    shade = np.exp(-dark).reshape(normal.shape[1:])
    lit = np.empty_like(light_in)
    for c, fade in enumerate((0.02, 0.17, 0.15)):
        albedo = np.float32(skin.tone[c]) * (1 - np.float32(fade) * red).reshape(shade.shape)
        lit[c] = light_in[c] * albedo * shade + gloss * np.float32(light.key[c])
    return lit, light_in
