"""Images with landmarks drawn on them: grids of crops (Fig. 4, 5 and 8), one photo, and a frame of a video."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from PIL import Image, ImageDraw

from brule.data.schemes import Scheme
from brule.errors import BruleError
from brule.figures.annotation import NAMED, annotate, texts
from brule.figures.theme import FAINT, INK, WARNING, Sheet, colours, draw, told_by

Images = npt.NDArray[np.uint8]
Points = npt.NDArray[Any]
Errors = npt.NDArray[Any] | None

LONGEST = 1600
"""Pixels of a photo's longer side. Larger photos are reduced to it."""
# The shorter side of a smaller photo is enlarged to this, as far as LONGEST allows.
_SHORTEST = 720
_DPI = 150.0
_POINTS = 72 / _DPI  # typographic points per pixel
_GAP = 6
_MARGIN = 14
_FINE = 4  # frames are drawn this many times larger, then reduced, since PIL's lines are jagged
_OUTLINE = (11, 22, 32)


class Canvas:
    """Rows of images on white axes whose unit is a pixel of the picture, with row labels on the left.

    All images share one axes object, so that a grid of 64 crops with 68 landmarks takes a fraction of a second.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[Images] | Images],
        cell: int,
        caption: int = 0,
        footer: str = "",
        heading: str = "",
        above: int = 0,
    ) -> None:
        """`caption` and `above` are free pixels below every row and above the first."""
        self.rows, self.cell, self.footer, self.heading = rows, cell, footer, heading
        self.top = _MARGIN + (26 if heading else 0) + above
        self.columns = max(len(images) for images in rows.values())
        self.left = _MARGIN + (30 if any(label.strip() for label in rows) else 0)
        self.pitch = cell + _GAP + caption
        self.width = self.left + self.columns * (cell + _GAP) - _GAP + _MARGIN
        self.height = self.top + _MARGIN + len(rows) * self.pitch - _GAP + (20 if footer else 0)

    def sheet(self, path: Path | str) -> Sheet:
        return Sheet(path, self.width / _DPI, self.height / _DPI, _DPI)

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """The upper left corner of a cell."""
        return self.left + column * (self.cell + _GAP), self.top + row * self.pitch

    def place(self, points: Points, row: int) -> Points:
        """Landmarks (N, K, 2) of a row's images, in crop units → pixels of the picture."""
        corners = np.array([self.corner(row, column) for column in range(len(points))])
        placed: Points = points * self.cell + corners[:, None]
        return placed

    def axes(self, figure: Any) -> Axes:
        """Paint the images and the row labels. Returns the axes, for whatever lies above them."""
        paper = np.full((self.height, self.width, 3), 255, dtype=np.uint8)
        axes: Axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for row, (label, images) in enumerate(self.rows.items()):
            for column, image in enumerate(images):
                x, y = self.corner(row, column)
                paper[int(y) : int(y) + self.cell, int(x) : int(x) + self.cell] = enlarge(image, self.cell)
            middle = self.corner(row, 0)[1] + self.cell / 2
            axes.text(_MARGIN + 8, middle, label, rotation=90, ha="center", va="center", color=INK, fontsize=8)
        axes.text(self.left, self.height - _MARGIN + 4, self.footer, va="bottom", color=FAINT, fontsize=7)
        axes.text(self.left, _MARGIN + 8, self.heading, va="center", color=INK, fontsize=9.5, fontweight="bold")
        axes.imshow(paper, extent=(0, self.width, self.height, 0), interpolation="nearest", aspect="auto")
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        return axes


def enlarge(image: Images, side: int) -> Images:
    """(S, S, 3) uint8 → (side, side, 3), by Lanczos, which keeps small images smooth and sharp."""
    if image.shape[0] == side:
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.LANCZOS))


def cell(size: int, least: int) -> int:
    """The smallest whole multiple of an image's side with at least `least` pixels: all pixels are equally large."""
    return size * max(1, -(-least // size))


def sample_grid(rows: Mapping[str, Images], points: Points, path: Path | str, scheme: Scheme, marked: int = 1) -> None:
    """A row of images for each label, in order. The landmarks are drawn on the first `marked` rows.

    rows: label → (N, S, S, 3) uint8, of equal N and S; points: (N, K, 2) crop units.
    """
    canvas = Canvas(rows, cell(next(iter(rows.values())).shape[1], 128))
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for row in range(marked):
            draw(axes, canvas.place(points, row), scheme, size=0.85 * dot(len(scheme.names)), width=0.7)


def overlays(
    images: Images,
    predictions: Points,
    truths: Points | None,
    errors: npt.NDArray[Any] | None,
    scheme: Scheme,
    path: Path | str,
    titles: Sequence[str] = ("best", "median", "worst"),
    columns: int = 6,
    labelled: npt.NDArray[np.intp] | None = None,
    unlabelled: Images | None = None,
    answers: Points | None = None,
) -> None:
    """The detector's best, median and worst images: predictions coloured by part, the truth as white dots, and errors.

    images (N, S, S, 3) uint8; predictions (N, K, 2) in crop units. labelled: the places (M,) of the images that are
    ranked; None: all. Of these, truths (M, K, 2), and errors (M,) in percent. Without errors, images spread evenly over
    the set, with predictions only. `unlabelled` images (U, S, S, 3) with their predictions
    `answers` (U, K, 2) have rows of their own, called unseen: at least one, and as many as the others leave free.
    Nothing is drawn if there is no image at all. Landmarks that are few have their numbers.
    """
    many = 0 if unlabelled is None else len(unlabelled)
    places = np.arange(len(images)) if labelled is None else labelled
    if not len(places) + many:
        return
    chosen = _choose(errors, len(places), titles, columns)
    rows: dict[str, Images] = {title: images[places[index]] for title, index in chosen.items()}
    found = [predictions[places[index]] for index in chosen.values()]
    if unlabelled is not None and answers is not None and many:
        free = titles[len(rows) :] or titles[:1]
        for number, index in enumerate(_choose(None, many, free, columns).values()):
            rows["unseen" + " " * number] = unlabelled[index]
            found.append(answers[index])
    notes = ["in colour: the prediction", "no landmarks to measure against" if truths is None else "white: the truth"]
    footer = "; ".join([*notes, *filter(None, [told_by(scheme)])])
    side = cell(next(iter(rows.values())).shape[1], 192)
    canvas = Canvas(rows, side, caption=0 if errors is None else 22, footer=footer)
    size = dot(len(scheme.names))
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for row, answer in enumerate(canvas.place(points, row) for row, points in enumerate(found)):
            if truths is not None and row < len(chosen):
                _truth(axes, canvas.place(truths[list(chosen.values())[row]], row), answer, size)
            draw(axes, answer, scheme, size=size, width=0.8)
            if len(scheme.names) <= NAMED:
                numbered(axes, canvas, row, answer, scheme)
        for row, index in enumerate(chosen.values()):
            if errors is not None:
                captions(axes, canvas, row, errors[index])


def numbered(axes: Axes, canvas: Canvas, row: int, answer: Points, scheme: Scheme, font: float = 4.6) -> None:
    """The numbers of landmarks (N, K, 2), in pixels of the picture, in the cells of a row. font: in points."""
    for column, points in enumerate(answer):
        x, y = canvas.corner(row, column)
        frame = (x, y, x + canvas.cell, y + canvas.cell)
        annotate(axes, points, scheme, texts(scheme, names=False), font=font, pixel=_DPI / 72, gap=5.0, frame=frame)


def dot(landmarks: int) -> float:
    """A dot's diameter in typographic points. Few landmarks are drawn larger than many."""
    return float(np.clip(16 / landmarks**0.5, 1.9, 4.5))


def _choose(
    errors: npt.NDArray[Any] | None, count: int, titles: Sequence[str], columns: int
) -> dict[str, npt.NDArray[np.intp]]:
    """The images of each row: equal numbers from the beginning, the middle and the end of the ranking.

    If there are not enough for different ones in every row, each image is there once, in the order of the ranking,
    and the rows tell their ranks.
    """
    columns = min(columns, count)
    if not columns:
        return {}
    if errors is None:
        some = np.linspace(0, count - 1, min(len(titles) * columns, count)).round().astype(np.intp)
        # Rows need different labels, and blanks of different length do not show.
        return {" " * row: some[start : start + columns] for row, start in enumerate(range(0, len(some), columns))}
    ranking = np.argsort(errors, kind="stable")
    if count < len(titles) * columns:
        if count <= columns:
            return {f"{titles[0]} to {titles[-1]}": ranking}
        ranks = [np.arange(start, min(start + columns, count)) for start in range(0, count, columns)]
        return {f"{'–'.join(map(str, dict.fromkeys((k[0] + 1, k[-1] + 1))))} of {count}": ranking[k] for k in ranks}
    starts = np.linspace(0, count - columns, len(titles)).round().astype(int)
    return {title: ranking[start : start + columns] for title, start in zip(titles, starts, strict=True)}


def whole(path: Path) -> Image.Image:
    """A picture that an earlier stage drew, decoded. Raises BruleError if it is not a whole PNG."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.load()
            return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow has no one class for it
        raise BruleError(f"{path}: is not a whole PNG; restore it with dvc checkout --force") from None


def cells(picture: Images, rows: int = 4) -> npt.NDArray[np.uint8]:
    """The inverse of `sample_grid`: a picture (H, W, 3) of `rows` rows → (rows, columns, cell, cell, 3).

    Raises BruleError if the picture is not such a grid.
    """
    height, width = picture.shape[:2]
    side, left = (height - 2 * _MARGIN + _GAP) // rows - _GAP, _MARGIN + 30
    columns = (width - left - _MARGIN + _GAP) // max(1, side + _GAP)
    shape = (2 * _MARGIN + rows * (side + _GAP) - _GAP, left + columns * (side + _GAP) - _GAP + _MARGIN)
    if side < 1 or columns < 1 or shape != (height, width):
        raise BruleError(f"a picture of {width} × {height} pixels is not a grid of samples; train again")
    corners = [[(_MARGIN + r * (side + _GAP), left + c * (side + _GAP)) for c in range(columns)] for r in range(rows)]
    return np.stack([[picture[y : y + side, x : x + side] for y, x in row] for row in corners])


def _truth(axes: Axes, truth: Points, answer: Points, dot: float) -> None:
    """White dots at the truth, and a thin line from each to the prediction. Its length is the error."""
    segments = list(np.stack([truth, answer], axis=2).reshape(-1, 2, 2))
    axes.add_collection(LineCollection(segments, colors="white", linewidths=0.5, alpha=0.75, zorder=2.6))
    flat = truth.reshape(-1, 2)
    axes.scatter(flat[:, 0], flat[:, 1], s=0.8 * dot**2, c="white", edgecolors="none", zorder=2.7)


def captions(axes: Axes, canvas: Canvas, row: int, errors: npt.NDArray[Any]) -> None:
    """Write the errors (N,), in percent, below the images of a row."""
    for column, error in enumerate(errors):
        x, y = canvas.corner(row, column)
        middle, below = x + canvas.cell / 2, y + canvas.cell + 4
        axes.text(middle, below, f"{error:.1f} %", ha="center", va="top", color=FAINT, fontsize=7)


def restyled(
    rows: Sequence[tuple[Images, Points, Errors]],
    drawn: Images,
    path: Path | str,
    scheme: Scheme,
    heading: str,
    note: str,
) -> None:
    """Rows of images with the landmarks found on them, and below, the GAN's images of the last row's landmarks.

    Each row: images (N, S, S, 3) uint8, landmarks (N, K, 2) in crop units, and errors (N,) in percent, if known.
    drawn: (N, S', S', 3) uint8, from the landmarks of the last row.
    """
    labels = [f"found{' ' * row}" for row in range(len(rows))]  # they look alike, but tell the rows apart
    grid = dict(zip(labels, (images for images, _, _ in rows), strict=True)) | {"G(L, z)": drawn}
    known = any(errors is not None for _, _, errors in rows)
    canvas = Canvas(grid, cell(rows[0][0].shape[1], 192), caption=22 if known else 0, footer=note, heading=heading)
    size = dot(len(scheme.names))
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for row, (_, points, errors) in enumerate(rows):
            draw(axes, canvas.place(points, row), scheme, size=size, width=0.9)
            if errors is not None:
                captions(axes, canvas, row, np.asarray(errors))


def photo(image: Image.Image, points: npt.NDArray[Any], path: Path | str, scheme: Scheme) -> None:
    """An RGB image and its landmarks (K, 2), in its own pixels, 0 at the centre of the first, with names or numbers."""
    scale = min(LONGEST / max(image.size), max(1.0, _SHORTEST / min(image.size)))
    width, height = (max(1, round(scale * side)) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    placed = (points + 0.5) * [width / image.width, height / image.height]
    dot = float(np.clip(0.02 * np.linalg.norm(np.ptp(placed, axis=0)), 2.5, 14)) * _POINTS
    with Sheet(path, width / _DPI, height / _DPI, _DPI) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        draw(axes, placed[None], scheme, size=dot, width=0.35 * dot)
        # As large as the object allows, so that the labels of a small one do not cover the whole photo.
        span = float(np.linalg.norm(np.ptp(placed, axis=0)))
        named = len(scheme.names) <= NAMED
        font = float(np.clip((0.028 if named else 0.017) * span * _POINTS, 4.0, 9.0))
        gap, frame = (0.6 * dot + 1) / _POINTS, (2.0, 2.0, width - 2.0, height - 2.0)
        annotate(axes, placed, scheme, texts(scheme, named), font=font, pixel=1 / _POINTS, gap=gap, frame=frame)


def marked(pixels: npt.NDArray[np.uint8], points: npt.NDArray[Any], scheme: Scheme) -> npt.NDArray[np.uint8]:
    """A copy of a picture (H, W, 3) with landmarks (K, 2), in its pixels, 0 at the centre of the first.

    It draws faster than a figure, since a video has thousands of frames.
    """
    image = Image.fromarray(pixels)
    span = float(np.linalg.norm(np.ptp(points, axis=0)))
    dot = float(np.clip(0.009 * span, 1.6, 0.01 * max(image.size)))
    low = np.floor(points.min(0) - 3 * dot).clip(0, image.size).astype(int)
    high = np.ceil(points.max(0) + 3 * dot + 1).clip(0, image.size).astype(int)
    if (high <= low).any():
        return np.asarray(image)
    part = image.crop((*low, *high))
    large = part.resize((part.width * _FINE, part.height * _FINE), Image.Resampling.BILINEAR)
    _draw(ImageDraw.Draw(large), _FINE * (points + 0.5 - low), _FINE * dot, scheme)
    image.paste(large.resize(part.size, Image.Resampling.BOX), tuple(low))
    return np.asarray(image)


def _draw(draw: ImageDraw.ImageDraw, places: npt.NDArray[Any], dot: float, scheme: Scheme) -> None:
    tint = [tuple(round(255 * c) for c in rgb) for rgb in colours(scheme).tolist()]
    for a, b in scheme.edges:
        draw.line([*places[a], *places[b]], tint[a], max(1, round(0.7 * dot)))
    for (x, y), colour in zip(places, tint, strict=True):
        draw.ellipse([x - dot, y - dot, x + dot, y + dot], colour, _OUTLINE, max(1, round(0.25 * dot)))


def frames(columns: Mapping[int, Images], path: Path | str, heading: str, note: str, alarmed: Collection[int]) -> None:
    """A column of images (N, S, S, 3) uint8, with landmarks drawn already, below the number of each iteration (Fig. 8).

    The numbers in `alarmed` are red.
    """
    iterations = list(columns)
    count = len(columns[iterations[0]])
    rows = {" " * row: [columns[iteration][row] for iteration in iterations] for row in range(count)}
    canvas = Canvas(rows, columns[iterations[0]].shape[1], footer=note, heading=heading, above=22)
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for column, iteration in enumerate(iterations):
            x, y = canvas.corner(0, column)
            colour = WARNING if iteration in alarmed else INK
            axes.text(x + canvas.cell / 2, y - 5, f"{iteration}", ha="center", va="bottom", color=colour, fontsize=8)
