"""Eyes, mouth and lips: curves through the landmarks, the masks they bound, and the colours that show inside."""

import numpy as np
from PIL import ImageDraw

from brule.synthetic.face import Face, Sheet, bytes_of
from brule.synthetic.head import Array
from brule.synthetic.mesh import Single
from brule.synthetic.shading import direction

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
