"""The face on the head: eyes, mouth, lips, brows and lines, drawn with pens through the projected landmarks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brule.synthetic.factors import Factors
from brule.synthetic.head import Array, Single, track
from brule.synthetic.skull import Layer
from brule.synthetic.view import View, direction, irradiance, rotation

FINE = 3
"""Supersampling of everything drawn with lines and polygons."""
EYEBALL = 12.5
"""Radius, mm."""

Ink = int | tuple[int, int, int]


def bytes_of(colour: Array | Single) -> tuple[int, int, int]:
    """0…1 → 0…255, clipped."""
    r, g, b = (min(max(int(255.0 * v), 0), 255) for v in colour)
    return r, g, b


@dataclass(frozen=True)
class Sheet:
    """A window of the picture (whole pixels, right and bottom exclusive) on which one draws FINE times larger."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def canvas(self, mode: str = "L") -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """An empty fine canvas and its pen."""
        image = Image.new(mode, ((self.right - self.left) * FINE, (self.bottom - self.top) * FINE))
        return image, ImageDraw.Draw(image)

    def flat(self, points: Array) -> list[float]:
        """(N, 2) pixels → PIL's coordinates on the fine canvas."""
        return ((points - (self.left - 0.5, self.top - 0.5)) * FINE - 0.5).ravel().tolist()

    def disc(self, pen: ImageDraw.ImageDraw, centre: Array, rx: float, ry: float, fill: Ink) -> None:
        """A filled upright ellipse, radii in pixels."""
        x = (float(centre[0]) - self.left + 0.5) * FINE - 0.5
        y = (float(centre[1]) - self.top + 0.5) * FINE - 0.5
        pen.ellipse((x - rx * FINE, y - ry * FINE, x + rx * FINE, y + ry * FINE), fill=fill)

    def coarse(self, canvas: Image.Image) -> Single:
        """The fine canvas averaged to the window's pixels, in 0…1: (h, w) or (3, h, w)."""
        small = canvas.reduce(FINE)
        levels = np.frombuffer(small.tobytes(), dtype=np.uint8).reshape(small.height, small.width, -1)
        array = np.ascontiguousarray(levels.transpose(2, 0, 1)) * np.float32(1 / 255)
        return array[0] if len(array) == 1 else array

    def mesh(self) -> tuple[Single, Single]:
        """x (1, w) and y (h, 1) of the window's pixels."""
        x = np.arange(self.left, self.right, dtype=np.float32)[None]
        return x, np.arange(self.top, self.bottom, dtype=np.float32)[:, None]


class Face:
    """Projected points (pixels; `named` with depth), colours under this light, canvases; unit: pixels a millimetre."""

    def __init__(self, factors: Factors, view: View, points: Array, marks: Array, size: int) -> None:
        seen, parts = view(points.T).T, track().slices
        self.factors, self.view, self.size, self.marks = factors, view, size, marks
        self.unit = float(view.scale)
        self.down = view.turn[:2, 1]
        self.named = {name: seen[part] for name, part in parts.items()}
        self.eyeballs = points[parts["eyeballs"]]
        normal = view.turn @ np.array([[0.0], [-0.1], [1.0]])
        self.light = irradiance(normal.astype(np.float32), factors.light)[:, 0]
        self.whole = Sheet(0, 0, size, size)
        inner, margin = marks[17:], 7.0 * self.unit  # brows, eyes, nose and mouth, with the brows' thickness
        low = np.floor(np.clip(inner.min(axis=0) - margin, 0, size - 8)).astype(int)
        high = np.ceil(np.clip(inner.max(axis=0) + margin, low + 8, size)).astype(int)
        self.sheet = Sheet(int(low[0]), int(low[1]), int(high[0]), int(high[1]))

    @property
    def pupils(self) -> Array:
        """(2, 2): where the optical axes leave the eyeballs, in pixels; the gaze of a turned head lags behind it."""
        across, down = self.factors.eyes.gaze
        pose = self.factors.pose
        axis = rotation(across - 0.35 * pose.yaw, down - 0.35 * pose.pitch, 0.0) @ np.array([0.0, 0.0, EYEBALL])
        return np.asarray(self.view((self.eyeballs + axis).T)[:2].T, dtype=np.float64)

    def width(self, millimetres: float) -> int:
        """A line's width on a fine canvas, at least 1."""
        return max(1, round(millimetres * self.unit * FINE))


IRIS = 6.5
"""Radius, mm."""
_BITE = 1.0 - 0.5 * np.linspace(-1, 1, 11)[:, None] ** 2


def _lagrange(count: int, samples: int) -> Array:
    """(samples, count): the polynomial through `count` equally spaced points, at equally spaced parameters."""
    nodes, at = np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, samples)
    factors = [[(at - nodes[j]) / (nodes[i] - nodes[j]) for j in range(count) if j != i] for i in range(count)]
    return np.array([np.prod(f, axis=0) for f in factors]).T


def _smooth(count: int, samples: int) -> Array:
    """(samples, count): a Catmull-Rom spline, which meets its `count` points."""
    unit = np.eye(count)
    ends = np.vstack([2 * unit[0] - unit[1], unit, 2 * unit[-1] - unit[-2]])
    rows = []
    for t in np.linspace(0.0, count - 1.0, samples):
        k = min(int(t), count - 2)
        u = t - k
        weights = 0.5 * np.array([-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, u**3 - u**2])
        rows.append(weights @ ends[k : k + 4])
    return np.array(rows)


def _weights() -> tuple[Array, dict[str, slice]]:
    """(n, 68) and the rows of each curve; a curve that continues another to close it follows it."""
    lid, rim, bow = _lagrange(4, 9), _lagrange(5, 11), _smooth(7, 19)
    curves = {
        "left_lid": (lid, [36, 37, 38, 39]), "left_below": (lid, [39, 40, 41, 36]),
        "right_lid": (lid, [42, 43, 44, 45]), "right_below": (lid, [45, 46, 47, 42]),
        "upper": (rim, [60, 61, 62, 63, 64]), "lower": (rim, [64, 65, 66, 67, 60]),
        "arch": (bow, list(range(48, 55))), "bow": (bow, [54, 55, 56, 57, 58, 59, 48]),
        "back": (rim, [64, 63, 62, 61, 60]),
    }  # fmt: skip
    rows, slices, start = [], {}, 0
    for name, (weights, landmarks) in curves.items():
        rows.append(weights @ np.eye(68)[landmarks])
        slices[name] = slice(start, start := start + len(weights))
    return np.concatenate(rows), slices


_CURVES, _ROWS = _weights()


class Curves:
    """The outlines of eyes and lips, each through its landmarks."""

    def __init__(self, marks: Array, sheet: Sheet) -> None:
        self.points = _CURVES @ marks
        self.pen = sheet.flat(self.points)

    def __getitem__(self, name: str) -> Array:
        """(n, 2) pixels."""
        return self.points[_ROWS[name]]

    def ink(self, first: str, last: str | None = None) -> list[float]:
        """The same for PIL, on the sheet's fine canvas, up to the end of the curve `last`."""
        return self.pen[2 * _ROWS[first].start : 2 * _ROWS[last or first].stop]


EYES = (("left_lid", "left_below"), ("right_lid", "right_below"))


def masks(face: Face, curves: Curves) -> Single:
    """(3, h, w) on the face's sheet: the red of both lips, that of the upper one, and what is open (eyes, mouth)."""
    canvas, pen = face.sheet.canvas("RGB")
    pen.polygon(curves.ink("arch", "bow"), fill=(255, 0, 0))
    pen.polygon(curves.ink("arch") + curves.ink("back"), fill=(255, 255, 0))
    for first, last in (*EYES, ("upper", "lower")):
        pen.polygon(curves.ink(first, last), fill=(0, 0, 255))
    return face.sheet.coarse(canvas)


def colours(face: Face, curves: Curves) -> Single:
    """(3, h, w) on the face's sheet: eyeballs and the inside of the mouth, larger than their openings."""
    canvas, pen = face.sheet.canvas("RGB")
    for (lid, _), pupil in zip(EYES, face.pupils, strict=True):
        _eye(face, pen, curves[lid].mean(axis=0), curves.ink(lid), pupil)
    _mouth(face, pen, curves)
    return face.sheet.coarse(canvas)


def _eye(face: Face, pen: ImageDraw.ImageDraw, centre: Array, lid: list[float], pupil: Array) -> None:
    eyes, unit, sheet = face.factors.eyes, face.unit, face.sheet
    sheet.disc(pen, centre, 20 * unit, 14 * unit, bytes_of(np.array([0.90, 0.86, 0.84]) * face.light * 0.8))
    iris = np.array(eyes.iris) * (0.25 + 0.65 * face.light)
    squash = max(0.75, float(face.view.turn[2, 2])) * unit
    for radius, colour in ((IRIS, iris * 0.45), (0.82 * IRIS, iris), (eyes.pupil * IRIS, iris * 0.05)):
        sheet.disc(pen, pupil, radius * squash, radius * unit, bytes_of(colour))
    sheet.disc(pen, pupil + 2.6 * unit * face.down, 2.6 * squash, 1.6 * unit, bytes_of(iris * 1.35))
    pen.line(lid, fill=bytes_of(np.array([0.30, 0.24, 0.22]) * face.light), width=face.width(2.6))
    glint = pupil + direction(face.factors.light)[:2].astype(float) * 2.6 * unit
    sheet.disc(pen, glint, 1.4 * unit, 1.4 * unit, bytes_of(0.55 + 0.4 * face.light))


def _mouth(face: Face, pen: ImageDraw.ImageDraw, curves: Curves) -> None:
    light, unit, sheet, down = face.light, face.unit, face.sheet, face.down
    upper, lower = curves["upper"], curves["lower"]
    sheet.disc(pen, 0.5 * (upper[5] + lower[5]), 32 * unit, 26 * unit, bytes_of(np.array([0.20, 0.07, 0.07]) * light))
    gap = float(np.hypot(*(face.marks[66] - face.marks[62]))) / unit
    if gap > 9.0:
        tongue = bytes_of(np.array([0.62, 0.24, 0.24]) * light)
        sheet.disc(pen, lower[5] - down * 1.5 * unit, 11 * unit, 0.3 * gap * unit, tongue)
    teeth, drop = np.array([0.93, 0.89, 0.82]) * light * 0.88, min(7.5, 2.0 + 0.45 * gap) * unit
    bite = upper + down * drop * _BITE
    pen.polygon(sheet.flat(np.concatenate([upper - down * unit, bite[::-1]])), fill=bytes_of(teeth))
    pen.line(curves.ink("upper"), fill=bytes_of(teeth * 0.62), width=face.width(1.6))
    for k in (0, 10):
        sheet.disc(pen, upper[k] + down * unit, 3.4 * unit, 4 * unit, bytes_of(np.array([0.28, 0.10, 0.10]) * light))


HAIRS = 11
"""Single hairs drawn in each brow."""
_ALONG = np.linspace(0.0, 4.0, HAIRS)
_LINE = np.array([np.interp(_ALONG, np.arange(5.0), row) for row in np.eye(5)]).T
_THICK = np.interp(_ALONG, [0, 1, 2.2, 4], [0.7, 1.0, 0.95, 0.35])[:, None]
_LEAN = np.clip(_ALONG / 2.4, 0.0, 1.0)[:, None]
_WAY = np.stack([np.concatenate([side * (1.5 + 3.5 * _LEAN), -3.4 + 4.4 * _LEAN], axis=1) for side in (-1.0, 1.0)])
_OUTWARDS = np.array([[21, 20, 19, 18, 17], [22, 23, 24, 25, 26]])


def _brows(face: Face, pen: ImageDraw.ImageDraw) -> None:
    """In red: a soft band about the landmarks, and single hairs that rise at the nose and lie flat at the temple."""
    hair, unit, sheet, width = face.factors.hair, face.unit, face.sheet, face.width(1.1)
    draws = np.random.default_rng(hair.texture).random((3, 2, HAIRS, 1))
    thick = face.down * (_THICK * ((3.2 + 2.6 * hair.brow) * unit))
    line = _LINE @ face.marks[_OUTWARDS]  # (2, HAIRS, 2)
    way = _WAY @ (face.view.turn[:2, :2].T * unit)
    root = line + thick * (0.7 - 0.9 * draws[1] * _LEAN) + way * (draws[0] - 0.9)
    strokes = sheet.flat(np.concatenate([root, root + 1.1 * way], axis=-1).reshape(-1, 2))
    for band in np.concatenate([line - 0.35 * thick, (line + 0.65 * thick)[:, ::-1]], axis=1):
        pen.polygon(sheet.flat(band), fill=(int(110 + 85 * hair.brow), 0, 0))
    for k, dark in enumerate(draws[2].ravel().tolist()):
        pen.line(strokes[4 * k : 4 * k + 4], fill=(int(155 + 100 * dark), 0, 0), width=width)


def _lines(face: Face, curves: Curves, pen: ImageDraw.ImageDraw) -> None:
    """In green: lashes, the lids' crease, nostrils, the line between the lips, folds of age."""
    factors, unit, sheet = face.factors, face.unit, face.sheet
    for k, (lid, below) in enumerate(EYES):
        pen.line(sheet.flat(face.named["lids"][4 * k : 4 * k + 4, :2]), fill=(0, 75, 0), width=face.width(1.5))
        pen.line(curves.ink(below), fill=(0, 60 + int(90 * factors.eyes.liner), 0), width=face.width(1.0))
        pen.line(curves.ink(lid), fill=(0, 205, 0), width=face.width(1.7 + 1.6 * factors.eyes.liner))
    for nostril in face.named["nostrils"][:, :2]:
        sheet.disc(pen, nostril, 3.2 * unit, 1.6 * unit, (0, 175, 0))
    fold = min(110, int(15 + 70 * factors.skin.age + 45 * max(0.0, float(factors.shape.expression[1]))))
    for k in (0, 4):
        pen.line(sheet.flat(face.named["fold"][k : k + 4, :2]), fill=(0, fold, 0), width=face.width(2.2))
    for edge in ("upper", "lower"):
        pen.line(curves.ink(edge), fill=(0, 135, 0), width=face.width(1.2))


def _below(face: Face) -> NDArray[np.bool_]:
    """(h, w) on the sheet: whether a pixel lies lower than the eyes."""
    x, y = face.sheet.mesh()
    border = float(face.marks[28] @ face.down + 6.0 * face.unit)
    return np.asarray(x * np.float32(face.down[0]) + y * np.float32(face.down[1]) > border)


def _unhidden(face: Face, depth: Single) -> Single:
    """(h, w) on the sheet: 1 where nothing of the head (the nose, above all) stands before the eyes."""
    left, right = face.named["landmarks"][36:42].mean(axis=0), face.named["landmarks"][42:48].mean(axis=0)
    way = (right[:2] - left[:2]) / float((right[:2] - left[:2]) @ (right[:2] - left[:2]))
    x, y = face.sheet.mesh()
    run, rise = (x - np.float32(left[0])) * np.float32(way[0]), (y - np.float32(left[1])) * np.float32(way[1])
    plane = np.float32(left[2] + 15.0) + np.clip(run + rise, -0.3, 1.3) * np.float32(right[2] - left[2])
    return np.asarray(np.clip((plane - depth) * np.float32(0.25), 0.0, 1.0), dtype=np.float32)


def paint(face: Face, head: Layer) -> None:
    """Lips, brows, eyes, mouth and lines onto the head, in place; an open mouth belongs to the head's cover."""
    factors, window, curves = face.factors, face.sheet.window, Curves(face.marks, face.sheet)
    rgb, cover = head.rgb[:, *window], head.cover[window]
    red, upper, opened = masks(face, curves)
    below = _below(face)
    np.maximum(cover, opened, out=cover, where=below)
    bare = np.clip(1.0 - np.float32(1.3) * head.growth[window], 0.0, 1.0) * cover
    stain = np.array(factors.skin.lips) / np.maximum(np.array(factors.skin.tone), 0.05)
    red *= np.float32(0.85) * bare
    for c in range(3):
        rgb[c] *= 1.0 + red * (np.float32(stain[c] - 1.0) - np.float32(0.12) * upper)
    ink, pen = face.sheet.canvas("RGB")
    _brows(face, pen)
    _lines(face, curves, pen)
    brow, line, _ = face.sheet.coarse(ink) * bare
    hair = (np.array(factors.hair.colour) * 0.55 * face.light).astype(np.float32)
    rgb += np.float32(0.92) * brow * (hair[:, None, None] - rgb)
    seen = np.where(below, np.float32(1.0), _unhidden(face, head.depth[window]))
    rgb += opened * bare * seen * (colours(face, curves) - rgb)
    rgb *= 1.0 - np.float32(0.8) * line * seen
