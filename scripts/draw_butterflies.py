"""Draw butterflies that do not exist, as a folder of photos to try brule on: the example of docs/objects.md.

    PYTHONPATH=src python scripts/draw_butterflies.py FOLDER [COUNT] [LABELLED]
    PYTHONPATH=src python scripts/draw_butterflies.py --correct PHOTOS FILE

FOLDER gets COUNT photos (300), and beside the last LABELLED of them (40) their landmarks as .pts. FOLDER.shapes.json
gets 12 shapes that belong to none of the photos. The same numbers give the same files.

--correct stands in for a person who corrects proposals: FILE gets the true landmarks of the photos in the folder
PHOTOS, in the form that `data.labels` reads.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from brule.data.pts import format_pts

Points = npt.NDArray[np.float64]

SIDE, FINE = 192, 2  # pixels of a photo, and how many times larger it is painted
SHAPES = 12
HALF = ("forewing root", "forewing tip", "forewing corner", "hindwing corner", "hindwing tip", "hindwing root")
NAMES = ("head", "tail", *(f"{side} {name}" for name in HALF for side in ("left", "right")))
EDGES = [
    ("head", "tail"),
    *((f"{side} {one}", f"{side} {other}") for side in ("left", "right") for one, other in pairwise(HALF)),
]
_BODY = (35, 28, 24)
# The right half of the mean butterfly: x to the right of the body's axis, y down, wings about one unit long.
_HEAD, _TAIL = (0.0, -0.32), (0.0, 0.42)
_RIGHT = ((0.06, -0.18), (0.95, -0.62), (0.82, 0.02), (0.68, 0.12), (0.45, 0.72), (0.06, 0.12))


def shape(rng: np.random.Generator) -> Points:
    """The landmarks of a random butterfly, (14, 2), in units of its wings."""
    wide, tall = 1 + 0.12 * rng.standard_normal(2)
    own = np.array(_RIGHT) * (wide, tall) + 0.05 * rng.standard_normal((6, 2)) * (np.arange(6) % 5 > 0)[:, None]
    fore, hind = np.radians([14, 10]) * rng.standard_normal(2)  # how far the wings are spread
    halves = []
    for side in (-1, 1):
        lean = np.radians(3) * rng.standard_normal(2)
        wing = np.concatenate([_turned(own[:3], fore + lean[0], own[0]), _turned(own[3:], hind + lean[1], own[5])])
        halves.append(wing * (side, 1))
    length = 1 + 0.08 * rng.standard_normal()
    pairs = np.stack(halves, axis=1).reshape(-1, 2)  # left and right in turn, as NAMES has them
    return np.concatenate([np.array([_HEAD, _TAIL]) * length, pairs])


def photo(rng: np.random.Generator) -> tuple[Image.Image, Points]:
    """A photo, and its landmarks in its pixels, counted from 0."""
    size = SIDE * FINE
    points = _turned(shape(rng), np.radians(rng.uniform(-25, 25)), np.zeros(2))
    scale = SIDE * rng.uniform(0.28, 0.38)
    points = points * scale + SIDE / 2 + rng.uniform(-0.06, 0.06, 2) * SIDE
    image = _ground(rng, size)
    hue = rng.random()
    fine = (points + 0.5) * FINE
    shadow = Image.new("L", (size, size))
    _wings(ImageDraw.Draw(shadow), fine + 6 * FINE * rng.random(2), 110)
    image.paste((10, 14, 8), mask=shadow.filter(ImageFilter.GaussianBlur(4 * FINE)))
    _paint(rng, image, fine, hue)
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    grain = np.asarray(image) * rng.uniform(0.75, 1.15) + rng.normal(0, 3, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)), points


def _turned(points: Points, angle: float, about: Points) -> Points:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned: Points = (points - about) @ turn.T + about
    return turned


def _ground(rng: np.random.Generator, size: int) -> Image.Image:
    """Leaves out of focus."""
    image = Image.new("RGB", (size, size), tuple(int(c) for c in rng.integers((30, 60, 20), (90, 120, 60))))
    pen = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = rng.uniform(0, size, 2)
        long, thin, angle = rng.uniform(0.1, 0.35) * size, rng.uniform(0.02, 0.06) * size, rng.uniform(0, np.pi)
        t = np.linspace(-1, 1, 12)
        upper = np.stack([t * long, thin * (1 - t**2)], axis=1)
        leaf = _turned(np.concatenate([upper, -upper]), angle, np.zeros(2)) + np.array([x, y])
        pen.polygon([tuple(p) for p in leaf], fill=tuple(int(c) for c in rng.integers((30, 70, 20), (150, 190, 100))))
    return image.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.008, 0.025)))


def _outline(root: Points, corners: Points, end: Points) -> list[tuple[float, float]]:
    """A wing: a smooth closed curve through its root, its corners and its end (Catmull-Rom)."""
    ring = np.concatenate([root[None], corners, end[None]])
    before, after, further = np.roll(ring, 1, 0), np.roll(ring, -1, 0), np.roll(ring, -2, 0)
    curve = []
    for p0, p1, p2, p3 in zip(before, ring, after, further, strict=True):
        for t in np.linspace(0, 1, 16, endpoint=False):
            a, b = 2 * p1, p2 - p0
            c, d = 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3
            curve.append(tuple((a + b * t + c * t**2 + d * t**3) / 2))
    return curve


def _halves(points: Points) -> list[tuple[Points, Points]]:
    """(hindwing, forewing) of each side, each as root, corners and end."""
    sides = []
    for side in (0, 1):
        root, tip, corner, hind_corner, hind_tip, hind_root = points[2 + side :: 2]
        body = (points[0] + points[1]) / 2
        sides.append((np.array([hind_root, hind_tip, hind_corner, body]), np.array([root, tip, corner, body])))
    return sides


def _wings(pen: ImageDraw.ImageDraw, points: Points, fill: object) -> None:
    for hind, fore in _halves(points):
        for wing in (hind, fore):
            pen.polygon(_outline(wing[0], wing[1:3], wing[3]), fill=fill)


def _paint(rng: np.random.Generator, image: Image.Image, points: Points, hue: float) -> None:
    pen = ImageDraw.Draw(image)
    dark, rim = rng.uniform(0.12, 0.3), rng.uniform(0.78, 0.9)
    hues = (hue, hue + rng.uniform(-0.08, 0.08))
    colours = [_colour(each, rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.95)) for each in hues]
    ink = _colour(hue, 0.6, dark)
    spots = rng.uniform(0.5, 0.75, 2)
    radius = rng.uniform(2.5, 5) * FINE
    for hind, fore in _halves(points):
        for wing, colour in zip((hind, fore), colours, strict=True):
            outline = np.array(_outline(wing[0], wing[1:3], wing[3]))
            pen.polygon([tuple(p) for p in outline], fill=_colour(hue, 0.5, dark))
            inner = outline.mean(0) + rim * (outline - outline.mean(0))
            pen.polygon([tuple(p) for p in inner], fill=colour)
            for corner in (wing[1], (wing[1] + wing[2]) / 2, wing[2]):  # veins
                pen.line([tuple(wing[0]), tuple(wing[0] + 0.92 * (corner - wing[0]))], fill=ink, width=FINE)
            for share in spots:
                x, y = wing[3] + share * ((wing[1] + wing[2]) / 2 - wing[3])
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(hue + 0.5, 0.4, 0.95))
    head, tail = points[0], points[1]
    way = (tail - head) / np.linalg.norm(tail - head)
    across = np.array([-way[1], way[0]]) * 3.2 * FINE
    t = np.linspace(0, np.pi, 20)[:, None]
    body = np.concatenate([head + (tail - head) * (1 - np.cos(t)) / 2 + s * across * np.sin(t) for s in (1, -1)])
    body[20:] = body[20:][::-1]
    pen.polygon([tuple(p) for p in body], fill=_BODY)
    for side in (-1, 1):
        feeler = head - 14 * FINE * way + side * 2.4 * across
        bend = head - 6 * FINE * way + side * across
        pen.line([tuple(head), tuple(bend), tuple(feeler)], fill=_BODY, width=FINE)
    r = 2.6 * FINE
    pen.ellipse((head[0] - r, head[1] - r, head[0] + r, head[1] + r), fill=_BODY)


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    r, g, b = (255 * value * (1 - saturation * (1 - wheel))).astype(int).tolist()
    return r, g, b


def main() -> None:
    words = sys.argv[1:]
    if len(words) == 3 and words[0] == "--correct":
        correct(Path(words[1]), Path(words[2]))
    elif 1 <= len(words) <= 3 and words[0][:1] != "-" and all(text.isdecimal() for text in words[1:]):
        draw(Path(words[0]), *(int(text) for text in words[1:]))
    else:
        command = "PYTHONPATH=src python scripts/draw_butterflies.py"
        sys.exit(f"usage: {command} FOLDER [COUNT] [LABELLED]\n       {command} --correct PHOTOS FILE")


def draw(folder: Path, count: int = 300, labelled: int = 40) -> None:
    """Write the photos, the landmarks of some of them, and the shapes."""
    if folder.exists():
        sys.exit(f"{folder}: exists already; give the name of a new folder")
    folder.mkdir(parents=True)
    for number in range(count):
        image, points = photo(np.random.default_rng([0, number]))
        image.save(folder / f"butterfly-{number:04d}.jpg", quality=92)
        if number >= count - labelled:
            (folder / f"butterfly-{number:04d}.pts").write_text(format_pts(points))
    shapes = [100 * shape(np.random.default_rng([1, number])) for number in range(SHAPES)]
    _write(Path(f"{folder}.shapes.json"), shapes, normaliser=["left forewing tip", "right forewing tip"])


def correct(photos: Path, file: Path) -> None:
    """Write the true landmarks of the photos in a folder."""
    images = sorted(path.name for path in photos.rglob("butterfly-*.jpg"))
    if not images:
        sys.exit(f"{photos}: holds no butterfly-….jpg; give the folder of photos to correct")
    shapes = [photo(np.random.default_rng([0, int(name[10:-4])]))[1] for name in images]
    _write(file, shapes, images=images)


def _write(file: Path, shapes: list[Points], **more: list[str]) -> None:
    raw = {"names": NAMES, "edges": EDGES, **more, "shapes": [points.round(2).tolist() for points in shapes]}
    file.write_text(json.dumps(raw, indent=1) + "\n")


if __name__ == "__main__":
    main()
