"""How heads differ and move: linear modes, displacement fields (mm) over the template's points.

shape(c) = template + Σ c_m · mode_m, the same formula for the mesh, the landmarks and every tracked point: that is what
makes the landmarks exact. An identity coefficient counts standard deviations; an expression mostly runs from 0 to 1.
"""

import numpy as np

from brule.synthetic.head import AXIS, MOUTH, Array, blob, ramp

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
