"""What lies behind the head: the scene, hair that falls, shoulders and neck, shaded at picture resolution."""

import numpy as np
from PIL import Image

from brule.synthetic.face import Face
from brule.synthetic.factors import Factors, Light
from brule.synthetic.head import Array
from brule.synthetic.mesh import Single
from brule.synthetic.shading import irradiance


def _enlarge(small: Array | Single, size: int, how: Image.Resampling) -> Single:
    """(h, w, 3) in 0…1 → (3, S, S)."""
    picture = Image.fromarray(np.clip(small * 255.0, 0, 255).astype(np.uint8)).resize((size, size), how)
    return np.moveaxis(np.asarray(picture, dtype=np.float32) / np.float32(255.0), -1, 0)


def scene(factors: Factors, size: int) -> Single:
    """The scene behind, (3, S, S): a lit wall, blurred lights, a blurred room, or leaves."""
    rng = np.random.default_rng(factors.scene.texture)
    one, two, three = (np.array(colour, dtype=np.float32) for colour in factors.scene.colours)
    kind = factors.scene.backdrop
    if kind == "plain":
        corners = one + rng.normal(0.0, 0.09, (2, 2, 1)).astype(np.float32) + 0.15 * rng.random((2, 2, 1)) * (two - one)
        return _enlarge(corners, size, Image.Resampling.BICUBIC)
    if kind == "room":
        small = np.broadcast_to(one, (24, 24, 3)).copy()
        places = rng.integers([0, 0, 3, 4], [22, 20, 14, 24], (4, 4)).tolist()
        for colour, (x, y, w, h) in zip((two, three, 0.5 * (one + two), 0.4 * three), places, strict=True):
            small[y : y + h, x : x + w] = colour * rng.uniform(0.7, 1.2)
        return _enlarge(small + rng.normal(0.0, 0.02, (24, 24, 1)), size, Image.Resampling.BICUBIC)
    cells, spread = (7, 0.9) if kind == "bokeh" else (30, 0.7)
    mix = np.clip(0.5 + spread * rng.normal(0.0, 0.5, (cells, cells, 1)), 0.0, 1.0)
    if kind == "foliage":
        one, two = np.array([0.10, 0.17, 0.06]) + 0.15 * one, np.array([0.42, 0.52, 0.24]) + 0.25 * (two - 0.5)
    small = one + mix * (two - one) + 0.25 * (rng.random((cells, cells, 1)) > 0.9) * (three - one)
    return _enlarge(small, size, Image.Resampling.BICUBIC)


def _step(distance: Array | Single) -> Single:
    """Signed pixels → cover 0…1."""
    return np.asarray(np.clip(distance + np.float32(0.5), 0.0, 1.0), dtype=np.float32)


_ACROSS: Single = np.linspace(-1.0, 1.0, 129, dtype=np.float32)
_TOWARD: Single = np.sqrt(1.0 - _ACROSS * _ACROSS)


def _cylinder(u: Single, light: Light, tilt: float = 0.05) -> Single:
    """Light (3, …) on an upright cylinder, seen at u = −1…1 across it; tilt: the normals' y."""
    shades = irradiance(np.stack([_ACROSS, np.full_like(_ACROSS, tilt), _TOWARD]), light)
    return shades.take((u * 64.0 + 64.5).astype(np.intp), axis=1, mode="clip")


class Body:
    """Shoulders and neck in the picture, in mm about the neck's root: they follow a third of the head's roll."""

    def __init__(self, face: Face) -> None:
        self.face, self.unit = face, face.unit
        skull = face.view(np.array([[0.0, 0.0], [-30.0, 70.0], [-95.0, -88.0]]))
        self.skull, self.root = skull[:2, 0], skull[:2, 1]
        self.first = int(np.clip(self.root[1] - 45.0 * self.unit, 0, face.size - 1))
        x, y = face.whole.mesh()
        tilt = np.deg2rad(0.3 * face.factors.pose.roll)
        cosine, sine = np.float32(np.cos(tilt) / self.unit), np.float32(np.sin(tilt) / self.unit)
        dx, dy = x - np.float32(self.root[0]), y[self.first :] - np.float32(self.root[1])
        self.across: Single = cosine * dx + sine * dy
        self.down: Single = cosine * dy - sine * dx

    def neck(self, rgb: Single) -> None:
        """A lit cylinder that widens into the shoulders, in the chin's shadow."""
        factors = self.face.factors
        half = 50.0 + np.minimum(0.012 * np.maximum(self.down - 15.0, 0.0) ** 2, 45.0)
        cover = _step((half - np.abs(self.across)) * np.float32(self.unit))
        lit = _cylinder(self.across / half, factors.light)
        chin = float(self.face.marks[8, 1] - self.root[1]) / self.unit
        shadow = 0.45 + 0.45 * np.sqrt(np.clip((self.down - (chin - 4.0)) / 45.0, 0.0, 1.0))
        lit *= cover * shadow
        rgb[:, self.first :] *= 1.0 - cover
        rgb[:, self.first :] += np.array(factors.skin.tone, np.float32)[:, None, None] * lit

    def shoulders(self, rgb: Single) -> None:
        """Clothes from a neckline down."""
        scene, rng = self.face.factors.scene, np.random.default_rng(self.face.factors.scene.texture)
        wide = np.abs(self.across)
        neckline = 62.0 if scene.collar else 84.0 + 30.0 * rng.random()
        low = self.down - (neckline + 0.42 * np.maximum(wide - 58.0, 0.0) + 1.6 * np.maximum(wide - 165.0, 0.0))
        low += np.minimum(wide / 58.0, 1.0) ** 2 * (neckline - 52.0)
        cover = _step(np.float32(self.unit) * low)
        shade = 1.0 + 0.10 * np.sin(self.across / 16.0 + 3.0 * np.sin(self.down / 40.0 + rng.uniform(0, 6)))
        shade *= 0.72 + 0.28 * np.clip(low / 14.0, 0.0, 1.0)
        if scene.collar:
            shade *= 1.0 - 0.35 * np.exp(-(((low - 14.0) / 4.0) ** 2))
        lit = _cylinder(self.across / 220.0, self.face.factors.light, -0.35) * (shade * cover)
        rgb[:, self.first :] *= 1.0 - cover
        rgb[:, self.first :] += np.array(scene.clothes, np.float32)[:, None, None] * lit

    def fall(self, rgb: Single) -> None:
        """Long hair behind the neck: a cap that widens downwards, in strands."""
        hair, light, unit = self.face.factors.hair, self.face.factors.light, np.float32(self.unit)
        if hair.style not in ("bob", "long"):
            return
        rng, (x, y) = np.random.default_rng(hair.texture), self.face.whole.mesh()
        dx, dy = (x - np.float32(self.skull[0])) / unit, (y - np.float32(self.skull[1])) / unit
        wave = 2.0 * hair.curl * np.sin(dy / 9.0 + rng.uniform(0, 6))
        half = 80.0 + hair.volume + 0.10 * np.maximum(dy, 0.0) + wave
        rim = half * np.sqrt(1.0 - np.clip(dy / -108.0, 0.0, 1.0) ** 2) - 0.8
        end = np.float32(125.0 if hair.style == "bob" else 400.0)
        cover = _step((rim - np.abs(dx)) * unit) * _step((end - dy) * unit)
        phase = dx * (1.0 - 0.0012 * np.clip(dy, 0, 300)) + 1.5 * wave
        strand = 1.0 + 0.14 * np.sin(phase * 0.55 + rng.uniform(0, 6)) + 0.10 * np.sin(phase * 1.27 + rng.uniform(0, 6))
        u = dx / (half + 12.0)
        lit = _cylinder(u, light).sum(axis=0) * np.float32(1 / 3)
        rgb *= 1.0 - cover
        rgb += np.array(hair.colour, np.float32)[:, None, None] * (cover * strand * lit * (0.42 + 0.45 * u * u))


def behind(face: Face) -> Single:
    """Everything behind the head, (3, S, S)."""
    rgb, body = np.ascontiguousarray(scene(face.factors, face.size)), Body(face)
    body.fall(rgb)
    body.neck(rgb)
    body.shoulders(rgb)
    return rgb
