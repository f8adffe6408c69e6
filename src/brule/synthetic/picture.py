"""The whole picture: the scene behind, the head, glasses and whatever covers the face, and the camera."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from brule.synthetic.face import Face, paint
from brule.synthetic.factors import Camera, Factors, Light, sample
from brule.synthetic.head import Array, Single
from brule.synthetic.skull import Layer, draw_head
from brule.synthetic.splat import soften
from brule.synthetic.view import irradiance, place, tracked


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


_TURN = np.linspace(0.0, 2 * np.pi, 25)[:-1]


def _rims(face: Face, thin: bool) -> Array:
    """(2, 24, 3) mm: the outlines of the two lenses."""
    power = 0.75 if thin else 0.55
    cosine, sine = np.cos(_TURN), np.sin(_TURN)
    x = 23.0 * np.sign(cosine) * np.abs(cosine) ** power
    y = (17.0 if thin else 19.0) * np.sign(sine) * np.abs(sine) ** power + 3.0
    rims = []
    for side, centre in zip((-1.0, 1.0), face.eyeballs, strict=True):
        across = centre[0] + x + side * 1.5
        rims.append(np.stack([across, centre[1] + y, centre[2] + 31.0 - 0.0028 * across**2], axis=-1))
    return np.array(rims)


def glasses(face: Face, rgb: Single, head: Layer) -> None:
    """Frame, lenses and the arm on the side that shows, onto rgb in place."""
    props = face.factors.props
    if props.glasses == "none":
        return
    rims = _rims(face, props.glasses == "thin")
    seen = face.view(np.moveaxis(rims, -1, 0))[:2].transpose(1, 2, 0)
    lenses, pen = face.whole.canvas()
    for rim in seen:
        pen.polygon(face.whole.flat(rim), fill=255)
    frame, pen = face.whole.canvas()
    width = face.width(1.7 if props.glasses == "thin" else 3.4)
    for rim in seen:
        pen.line([*face.whole.flat(rim), *face.whole.flat(rim[:2])], fill=255, width=width, joint="curve")
    bridge = np.stack([seen[0, 1], seen[1, 11]]) - 6.0 * face.unit * face.down
    pen.line(face.whole.flat(bridge), fill=255, width=width)
    for k, (outer, ear) in enumerate(zip((seen[0, 12], seen[1, 0]), face.named["ears"][:, :2], strict=True)):
        if (face.factors.pose.yaw > -14.0) if k == 0 else (face.factors.pose.yaw < 14.0):
            pen.line(face.whole.flat(np.stack([outer, ear])), fill=215, width=width)
    glass, bar = face.whole.coarse(lenses), face.whole.coarse(frame)
    bare = 1.0 - np.clip(1.3 * head.growth, 0.0, 1.0)
    light = face.light[:, None, None]
    y = np.arange(face.size, dtype=np.float32)[:, None] - np.float32(seen[..., 1].mean())
    if props.glasses == "dark":
        fade = 0.45 + 0.9 * np.clip(0.5 + y / (30.0 * face.unit), 0.0, 1.0)
        tint = np.array(props.frame, np.float32)[:, None, None] * light * fade
        rgb += 0.94 * glass * bare * (tint - rgb)
    else:
        rgb += 0.06 * glass * bare * light
    rgb += bar * bare * (np.array(props.frame, np.float32)[:, None, None] * (0.35 + 0.6 * light) - rgb)


def occluder(face: Face, rgb: Single) -> None:
    """A hand, a microphone or an unsharp thing before the face, onto rgb in place."""
    kind = face.factors.props.occluder
    if kind == "hand":
        _hand(face, rgb)
    elif kind == "microphone":
        _microphone(face, rgb)
    elif kind == "blob":
        _unsharp(face, rgb)


def _hand(face: Face, rgb: Single) -> None:
    props, unit, sheet = face.factors.props, face.unit, face.whole
    side = 1.0 if props.place[0] > 0 else -1.0
    aside = np.array([side * (10 - 24 * abs(props.place[0])), 26 - 40 * props.place[1]])
    centre = face.marks[12 if side > 0 else 4] + aside * unit
    up = np.array([-side * 0.48, -0.88])
    across = np.array([-up[1], up[0]])
    mask, pen = sheet.canvas()
    shade, brush = sheet.canvas()
    palm = [(-34, 8), (34, 8), (38, -40), (30, -170), (-34, -170), (-38, -40)]
    outline = sheet.flat(centre + np.array([a * across + b * up for a, b in palm]) * unit)
    pen.polygon(outline, fill=255)
    brush.polygon(outline, fill=215)
    for k, length in zip((-1.5, -0.5, 0.5, 1.5), (44, 56, 52, 38), strict=True):
        root = centre + k * 17.5 * across * unit
        tip = root + (length * up + k * 2.5 * across) * unit
        ends = sheet.flat(np.stack([root - 8 * up * unit, tip]))
        for pencil, fill, width in ((pen, 255, 17.5), (brush, 120, 18.5), (brush, 205, 14.0), (brush, 240, 8.0)):
            pencil.line(ends, fill=fill, width=face.width(width))
            sheet.disc(pencil, tip, 0.5 * width * unit, 0.5 * width * unit, fill)
    cover, lit = soften(sheet.coarse(mask)), soften(sheet.coarse(shade))
    rgb *= 1.0 - 0.35 * soften(soften(np.roll(cover, 2, axis=0)))
    tone = np.array(face.factors.skin.tone, np.float32) * face.light
    rgb += cover * (tone[:, None, None] * (0.15 + lit) - rgb)


def _microphone(face: Face, rgb: Single) -> None:
    props, unit, sheet = face.factors.props, face.unit, face.whole
    ball = face.marks[57] + np.array([24.0 * props.place[0], 16.0 + 18.0 * props.place[1]]) * unit
    way = np.array([0.5 * props.place[0] + 0.2, 1.0])
    mask, pen = sheet.canvas()
    pen.line(sheet.flat(np.stack([ball, ball + way * 220 * unit])), fill=255, width=face.width(17))
    sheet.disc(pen, ball, 19.0 * unit, 19.0 * unit, 255)
    x, y = sheet.mesh()
    dx, dy = (x - np.float32(ball[0])) / (19 * unit), (y - np.float32(ball[1])) / (19 * unit)
    depth = np.sqrt(np.clip(1.0 - dx**2 - dy**2, 0.0, 1.0))
    bright = (0.35 * depth + 0.4 * np.clip(-0.5 * dy - 0.4 * dx + 0.5 * depth, 0.0, 1.0)) * (1.0 + 0.12 * ((x + y) % 2))
    body = np.where(depth > 0, 0.06 + 0.5 * bright, 0.10 + 0.08 * np.cos(3.0 * dx))
    rgb += sheet.coarse(mask) * (body * np.array(props.frame, np.float32)[:, None, None] * 2.2 - rgb)


def _unsharp(face: Face, rgb: Single) -> None:
    props, (x, y) = face.factors.props, face.whole.mesh()
    side = 1.0 if props.place[0] > 0 else -1.0
    edge = float(face.marks[13 if side > 0 else 3, 0]) - side * 16.0 * abs(props.place[0]) * face.unit
    slant = 0.35 * (y - float(face.marks[33, 1])) * (props.place[1] - 0.5)
    top = float(face.marks[28 if props.place[1] > 0.5 else 33, 1])
    cover = 0.5 + 0.5 * np.tanh(side * (x - edge - slant) / (0.05 * face.size))
    cover = cover * (0.5 + 0.5 * np.tanh((y - top) / (0.06 * face.size)))
    tone = np.array(props.fabric, np.float32) * (0.5 + 0.5 * face.light)
    rgb += cover * (tone[:, None, None] - rgb)


@cache
def _grain(side: int) -> NDArray[np.float32]:
    """(side, side, 3): white noise of deviation 1, of which every picture takes its own piece."""
    return np.random.default_rng(2).standard_normal((side, side, 3), dtype=np.float32)


def _curve(camera: Camera) -> NDArray[np.uint8]:
    """256 output levels: exposure, highlights that roll off instead of clipping, gamma, contrast."""
    level = np.arange(256) / 168.0
    level = np.where(level > 0.7, 0.7 + 0.3 * np.tanh((level - 0.7) / 0.45), level)
    return np.rint(255.0 * np.clip(0.5 + camera.contrast * (level**camera.gamma - 0.5), 0.0, 1.0)).astype(np.uint8)


def _expose(rgb: Single, camera: Camera, size: int) -> NDArray[np.uint8]:
    """Tint, tone curve, blur and noise: (3, S, S) in 0…1 → (S, S, 3) bytes."""
    if camera.grey:
        rgb = np.broadcast_to(np.tensordot(np.array([0.30, 0.59, 0.11], np.float32), rgb, 1), rgb.shape)
    scaled = rgb * (np.array(camera.tint, np.float32) * np.float32(182.0))[:, None, None]
    np.maximum(scaled, 0.0, out=scaled)
    np.minimum(scaled, 255.0, out=scaled)
    levels = np.empty((size, size, 3), dtype=np.uint8)
    levels[...] = np.moveaxis(scaled.astype(np.uint8), 0, -1)
    toned = levels.tobytes().translate(_curve(camera).tobytes())
    image = np.frombuffer(toned, dtype=np.uint8).reshape(levels.shape)
    if camera.blur > 0:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(camera.blur * size / 96.0))
        image = np.asarray(blurred)
    x, y = camera.texture % 300, camera.texture // 300 % 300
    noise = _grain(max(640, size + 300))[y : y + size, x : x + size]
    noisy = np.float32(camera.noise) * (noise[..., :1] if camera.grey else noise) + np.float32(0.5) + image
    np.maximum(noisy, 0.0, out=noisy)
    np.minimum(noisy, 255.0, out=noisy)
    return noisy.astype(np.uint8)


def draw(factors: Factors, size: int = 96) -> tuple[NDArray[np.uint8], Array]:
    """The face of these factors: (S, S, 3) RGB and its 68 landmarks (68, 2) in 0-based pixel centres."""
    points = tracked(factors.shape)
    view, marks = place(factors.pose, points, size)
    face = Face(factors, view, points, marks, size)
    head = draw_head(factors, view, size)
    paint(face, head)
    rgb = behind(face)
    rgb += head.cover * (head.rgb - rgb)
    glasses(face, rgb, head)
    occluder(face, rgb)
    return _expose(rgb, factors.camera, size), marks


def render(seed: int, index: int, size: int = 96) -> tuple[NDArray[np.uint8], Array]:
    """Face `index` of the endless set `seed`: (S, S, 3) RGB bytes and (68, 2) float64 pixels.

    The landmarks are exact projections in iBUG order, 0-based, integers at pixel centres; the jaw's are those of the
    visible contour. The same arguments give the same bytes, whatever was rendered before. Errors: ValueError for a
    negative seed or index, or a size under 32.
    """
    if size < 32:
        raise ValueError(f"size = {size}: a rendered face needs at least 32 pixels")
    return draw(sample(seed, index), size)
