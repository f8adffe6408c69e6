"""The head without its features: a deformed grid with skin, hair, beard and hat, splatted onto the picture."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from brule.synthetic.factors import Factors, Hair, Props, Rgb
from brule.synthetic.head import AXIS, Array, Single, blob, grid, ramp
from brule.synthetic.splat import bleed, densify, fit, soften, splat, visible
from brule.synthetic.view import View, complexion, direction, normals


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


WINDOW = 97.0
"""Columns further than this from the viewer's direction (degrees) are not drawn."""
HOLE = 0.46
"""A pixel without a point counts as head where this share of its surroundings (weighted 1 2 1) does."""


@dataclass(frozen=True)
class Layer:
    """rgb (3, S, S) in 0…1, cover (S, S) 0…1, growth (S, S): the share that is hair or hat, depth (S, S) mm."""

    rgb: Single
    cover: Single
    growth: Single
    depth: Single


@cache
def _texture() -> tuple[Single, Single, Single]:
    """Strands along the columns, skin mottle, stubble grain: (1024, 1024) each, mean 0, deviation 1: white noise
    blurred by Gaussians that wrap round, as products of spectra."""
    rng = np.random.default_rng(1)

    def cloud(down: float, across: float) -> Single:
        fade_down = np.exp(-2.0 * (np.pi * down * np.fft.fftfreq(1024)) ** 2).astype(np.float32)
        fade_across = np.exp(-2.0 * (np.pi * across * np.fft.rfftfreq(1024)) ** 2).astype(np.float32)
        spectrum = np.fft.rfft2(rng.standard_normal((1024, 1024), dtype=np.float32))
        blurred = np.fft.irfft2(spectrum * fade_down[:, None] * fade_across)
        return np.asarray(blurred / blurred.std(), dtype=np.float32)

    def unit(sum_: Single) -> Single:
        return np.asarray(sum_ / sum_.std(), dtype=np.float32)

    strands = unit(cloud(14.0, 0.8) + np.float32(0.8) * cloud(24.0, 3.0))
    strands = np.clip(strands, -1.7, 1.7)  # rarer ones would stand alone, as dark flecks before the hairline
    return strands, unit(cloud(2.2, 2.2) + np.float32(0.3) * cloud(0.6, 0.6)), cloud(1.0, 0.6)


@dataclass(frozen=True)
class Cloth:
    """Cuts pieces out of the textures: rows and columns of the dense grid, whatever part of it is drawn."""

    shape: tuple[int, int]
    rows: slice
    columns: slice

    def patch(self, texture: Single, seed: int) -> Single:
        """The piece at a place that the seed chooses."""
        row, column = seed % (1024 - self.shape[0]), (seed // 1024) % (1024 - self.shape[1])
        return texture[
            row + self.rows.start : row + self.rows.stop, column + self.columns.start : column + self.columns.stop
        ]


def _deform(factors: Factors, growth: Growth, columns: slice) -> Single:
    """Grid points (3, R, C') mm of the skin with what grows on it."""
    head = grid()
    coefficients = np.concatenate([factors.shape.identity, factors.shape.expression]).astype(np.float32)
    skin = head.points[:, :, columns].copy()
    for component, (active, modes) in zip(skin, _modes(columns.start, columns.stop), strict=True):
        component += (coefficients[active] @ modes).reshape(component.shape)
    if growth.ears:
        skin[0] += head.ears[:, columns]
    outward = skin - np.array([0.0, 0.0, AXIS], np.float32)[:, None, None]
    outward[1] = np.minimum(skin[1] + 30.0, 0.0)
    lift = growth.lift
    skin += outward * (lift / (np.sqrt(np.einsum("krc,krc->rc", outward, outward)) + np.float32(1e-6)))
    if growth.brim is not None:
        skin += growth.brim * np.array([0.0, 9.0, 46.0], np.float32)[:, None, None]
    return skin


@cache
def _modes(start: int, stop: int) -> list[tuple[NDArray[np.intp], Single]]:
    """For x, y and z: the modes that move it at all, and how, (modes, R·C')."""
    planes = np.moveaxis(grid().modes[..., start:stop], 1, 0)
    moving = [plane.any(axis=(1, 2)).nonzero()[0] for plane in planes]
    return [(active, plane[active].reshape(len(active), -1)) for active, plane in zip(moving, planes, strict=True)]


def _columns(yaw: float) -> slice:
    seen = np.flatnonzero(np.abs(np.rad2deg(grid().angle) + yaw) < WINDOW)
    return slice(int(seen[0]) // 4 * 4, min(int(seen[-1]) // 4 * 4 + 5, len(grid().angle)))


def _sheen(normal: Single, light_in: Single, factors: Factors) -> Single:
    """Hair's brightness (R, C'): the light, and a band across the strands."""
    toward = direction(factors.light)
    across = normal[1] * (toward[2] + 1.0) - normal[2] * toward[1]
    band = np.exp(-8.0 * across * across) * (normal[2] > 0)
    return np.asarray(0.75 * light_in.mean(axis=0) + np.float32(0.35 * factors.light.gloss) * band, dtype=np.float32)


def _colour(dense: Single, factors: Factors, growth: Growth, cloth: Cloth) -> Single:
    """Dense fields (skin rgb, hair, sheen, then beard and hat where there are any) → rgb and growth, (4, D_r, D)."""
    strands, mottle, grain = _texture()
    hair, strand = factors.hair, cloth.patch(strands, factors.hair.texture)
    patch = cloth.patch(mottle, factors.skin.texture)
    channels = np.empty((4, *strand.shape), dtype=np.float32)
    np.multiply(dense[:3], 1.0 + np.float32(0.008 + 0.02 * factors.skin.mottle) * patch, out=channels[:3])
    rough = np.clip(0.95 + np.float32(0.16 + 0.1 * hair.curl) * strand, 0.3, 1.8) * dense[4]
    if growth.bearded:
        stubble = np.clip(dense[5] * (0.85 + np.float32(0.22) * cloth.patch(grain, hair.texture)), 0.0, 0.92)
        _lay(channels, stubble, hair.colour, 0.35 + 0.7 * rough)
    mask = np.clip((dense[3] + np.float32(3.5) * strand) * np.float32(1 / 7) + np.float32(0.5), 0.0, 1.0)
    _lay(channels, mask, hair.colour, np.float32(1.15) * rough)
    if growth.hat is not None:
        on = np.clip(dense[-1] * np.float32(1 / 3) + np.float32(0.5), 0.0, 1.0)
        weave = 1.25 + np.float32(0.06) * cloth.patch(grain, factors.props.texture)
        _lay(channels, on, factors.props.fabric, dense[4] * weave)
        mask = np.maximum(mask, on)
    channels[3] = mask
    return channels


def _lay(channels: Single, mask: Single, colour: Rgb, shade: Single) -> None:
    """Colour times shade over channels[:3], in place, where the mask is."""
    keep, share = 1.0 - mask, mask * shade
    for channel, value in zip(channels, colour, strict=False):
        channel *= keep
        channel += np.float32(value) * share


def _fields(factors: Factors, growth: Growth, view: View, columns: slice) -> Single:
    """Coarse fields (F, R, C'): x, y in pixels, depth, facing, lit skin rgb, hair, sheen, and beard and hat
    where there are any. Facing: the normal's share towards the viewer."""
    grown = _deform(factors, growth, columns)
    bare = normals(grown)
    normal = (view.turn.astype(np.float32) @ bare.reshape(3, -1)).reshape(bare.shape)
    lit, light_in = complexion(normal, factors.light, factors.skin, factors.pose.yaw, columns)
    hair = growth.hair
    rest: list[Single] = [hair, _sheen(normal, light_in, factors)]
    if growth.bearded:
        rest.append(growth.beard)
    if growth.hat is None:
        lit *= 1.0 - 0.3 * ramp(-9.0, 0.0, hair)
    else:
        rest.append(growth.hat)
        lit *= 1.0 - (0.35 if growth.brim is None else 0.75) * ramp(-26.0, -4.0, growth.hat)
    return np.concatenate([view(grown), normal[2:], lit, np.array(rest, dtype=np.float32)])


def draw_head(factors: Factors, view: View, size: int) -> Layer:
    """The head on an empty picture."""
    columns = _columns(factors.pose.yaw)
    growth, axes = grow(factors.hair, factors.props, columns), fit(view.scale)
    fields = _fields(factors, growth, view, columns)
    rows, part = visible(fields[:4], size)
    dense = densify(fields[:, rows, part], rows, chosen := _shifted(part, columns.start), axes)
    whole = axes[1].within(columns)
    drawn = _shifted(axes[1].within(chosen), -whole.start)
    cloth = Cloth((len(axes[0].node), whole.stop - whole.start), axes[0].within(rows), drawn)
    channels = _colour(dense[4:], factors, growth, cloth).reshape(4, -1)
    means, cover, front = splat(dense[:4].reshape(4, -1), channels, size)
    closed = soften(np.maximum(cover, soften(cover) > HOLE))
    alpha = np.clip(np.float32(1.5) * closed - np.float32(0.25), 0.0, 1.0)
    bleed(means, cover, alpha > 0)
    return Layer(means[:3], alpha, means[3], front)


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
