"""What sits on the face or comes before it: glasses, a hand, a microphone, something out of focus."""

import numpy as np

from brule.synthetic.face import Face
from brule.synthetic.head import Array
from brule.synthetic.mesh import Single
from brule.synthetic.skull import Layer
from brule.synthetic.splat import soften

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
