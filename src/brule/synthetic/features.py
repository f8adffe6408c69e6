"""Brows and dark lines, and the laying of all features over the skin."""

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from brule.synthetic.face import Face
from brule.synthetic.mesh import Single
from brule.synthetic.openings import EYES, Curves, colours, masks
from brule.synthetic.skull import Layer

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
