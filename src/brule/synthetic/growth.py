"""Where hair, beard and hats grow on the head: signed fields (mm, positive inside) over the coarse grid, and volume."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from brule.synthetic.factors import Hair, Props
from brule.synthetic.head import Array, blob, ramp
from brule.synthetic.mesh import Single, grid


@dataclass(frozen=True)
class Growth:
    """On (R, C') vertices: hair and hat, signed mm; beard and brim, 0…1; lift, mm out of the skull; do ears show."""

    hair: Single
    hat: Single | None
    beard: Single
    lift: Single
    brim: Single | None
    ears: bool

    @property
    def bearded(self) -> bool:
        """Whether any beard grows."""
        return bool(self.beard.any())


@cache
def _sites() -> tuple[Single, ...]:
    """Degrees from the front (C,); the ground of beard, moustache and brim, and hair's height in mm (R, C)."""
    head = grid()
    x, y = head.points[0].astype(np.float64), head.height
    across = np.abs(np.rad2deg(head.angle))
    wide = np.broadcast_to(across, y.shape)
    side = ramp(52.0, 74.0, wide) * ramp(12.0, 40.0, y) * ramp(104.0, 96.0, wide)
    lower = ramp(84.0, 95.0, y + 0.16 * np.abs(x)) + 0.9 * ramp(26.0, 34.0, np.abs(x)) * ramp(58.0, 78.0, y)
    soul = blob(x, y, (0.0, 88.0), (7.0, 4.0))
    beard = np.clip(np.maximum(side, lower) + soul, 0.0, 1.0) * ramp(122.0, 108.0, wide)
    lip = ramp(33.0, 26.0, np.abs(x)) * ramp(53.5, 57.0, y - 0.12 * np.abs(x)) * ramp(66.5, 63.5, y - 0.26 * np.abs(x))
    brim = ramp(75.0, 40.0, wide) * blob(0.0 * y, y, (0.0, -57.0), (1.0, 4.0))
    sites = (across, beard, lip, brim, y + 40.0 * head.under)
    return tuple(site.astype(np.float32) for site in sites)


def _hairline(hair: Hair, across: Single, angle: Array) -> Single:
    """y (mm) of the hair's lower border at each column."""
    centre = hair.line + hair.fringe
    if hair.style == "receding":
        centre -= 22.0
    temple = -46.0 + 0.4 * hair.fringe
    cover = {"short": 12.0, "receding": 4.0, "bald": 0.0, "bob": 66.0, "long": 90.0}[hair.style]
    side = {"short": 70.0, "receding": 74.0, "bald": 80.0, "bob": 60.0, "long": 57.0}[hair.style]
    at = [0, 30, 46, side, side + 10, 87, 91, 106, 113, 132]  # over the forehead, past the temple, round the ear
    line = np.interp(across, at, [centre, centre, temple - 8, temple + 14, cover, cover, -20, -16, 60, 80])
    if hair.style in ("bob", "long"):
        line = np.interp(across, [0, 26, 44, side, side + 16, 132], [centre, centre, temple - 4, temple + 22, 130, 130])
    part = np.rad2deg(angle) * hair.parting * 0.35 * np.exp(-((across / 40.0) ** 2))
    return np.asarray(line + part, dtype=np.float32)


def grow(hair: Hair, props: Props, columns: slice) -> Growth:
    """The fields of this head's hair, beard and hat on those columns of the grid."""
    head = grid()
    across, ground, lip, brim_site, y = (site[..., columns] for site in _sites())
    border = _hairline(hair, across, head.angle[columns])
    field = border - y if hair.style != "bald" else np.full_like(y, -50.0)
    beard, full = np.zeros_like(y), 0.0 * y
    if hair.beard or hair.moustache:
        beard = np.clip(ground * hair.beard * 1.15 + lip * hair.moustache, 0.0, 1.0)
        full = np.clip(ground * max(0.0, 2 * hair.beard - 1.0) + lip * max(0.0, 2 * hair.moustache - 1.0), 0.0, 1.0)
    ears = hair.style not in ("bob", "long")
    thick = hair.volume * (0.55 if hair.style == "receding" else 1.0)
    lift = thick * ramp(-2.0, 26.0, field) * (1.0 + 0.35 * ramp(-30.0, -110.0, y)) + 3.0 * full
    if props.hat == "none":
        return Growth(field, None, beard, lift, None, ears)
    low = -52.0 if props.hat == "cap" else -44.0
    hat = low + 0.16 * across - y
    lift = np.where(hat > -12.0, np.minimum(lift, 5.0), lift) + 9.0 * ramp(-3.0, 5.0, hat)
    brim = brim_site if props.hat == "cap" else None
    return Growth(field, hat, beard, lift, brim, ears)
