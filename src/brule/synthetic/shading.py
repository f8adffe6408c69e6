"""Light on the coarse grid: normals, a wrapped Lambert term, soft shadows of the face's own relief, gloss."""

from functools import cache

import numpy as np

from brule.synthetic.factors import Light, Skin
from brule.synthetic.head import blob, ramp
from brule.synthetic.mesh import Single, grid

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
