"""Grids of small faces: what the networks draw, and where the detector is right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from PIL import Image

from brule.data.schemes import Scheme
from brule.errors import BruleError
from brule.figures.style import FAINT, INK, Sheet, draw

Images = npt.NDArray[np.uint8]
Points = npt.NDArray[Any]

_DPI = 150.0
_GAP = 6
_MARGIN = 14


class Canvas:
    """Rows of images on one white axes whose unit is a pixel of the picture, row labels at the left.

    One axes for all: a grid of 64 faces with 68 landmarks each is drawn in a fraction of a second.
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
        """`caption` and `above` are pixels left free below every row and above the first."""
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
        """Upper left corner of a cell."""
        return self.left + column * (self.cell + _GAP), self.top + row * self.pitch

    def place(self, points: Points, row: int) -> Points:
        """(N, K, 2) crop units of the images of a row → pixels of the picture."""
        corners = np.array([self.corner(row, column) for column in range(len(points))])
        placed: Points = points * self.cell + corners[:, None]
        return placed

    def axes(self, figure: Any) -> Axes:
        """Paint the images and the row labels; return the axes for whatever lies above them."""
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
    """(S, S, 3) uint8 → (side, side, 3), by Lanczos: small faces stay smooth and sharp."""
    if image.shape[0] == side:
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.LANCZOS))


def cell(size: int, least: int) -> int:
    """The smallest whole multiple of the image's side that has `least` pixels: no uneven pixels."""
    return size * max(1, -(-least // size))


def sample_grid(rows: Mapping[str, Images], points: Points, path: Path | str, scheme: Scheme, marked: int = 1) -> None:
    """A row of images for each label, in the order given; the landmarks are drawn on the first `marked` rows.

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
) -> None:
    """The detector's best, median and worst images: prediction coloured by part, truth as white dots, and the error.

    images (N, S, S, 3) uint8; predictions and truths (N, K, 2) crop units; errors (N,) percent. Without errors: images
    evenly spread over the set, predictions only.
    """
    chosen = _choose(errors, len(images), titles, columns)
    rows = {label: images[index] for label, index in chosen.items()}
    footer = "in colour: the answer; " + ("no landmarks to measure against" if truths is None else "white: the truth")
    canvas = Canvas(rows, cell(images.shape[1], 192), caption=0 if errors is None else 22, footer=footer)
    size = dot(len(scheme.names))
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for row, index in enumerate(chosen.values()):
            answer = canvas.place(predictions[index], row)
            if truths is not None:
                _truth(axes, canvas.place(truths[index], row), answer, size)
            draw(axes, answer, scheme, size=size, width=0.8)
            if errors is not None:
                captions(axes, canvas, row, errors[index])


def dot(landmarks: int) -> float:
    """A dot's diameter in typographic points: few landmarks are drawn larger than many."""
    return float(np.clip(16 / landmarks**0.5, 1.9, 4.5))


def _choose(
    errors: npt.NDArray[Any] | None, count: int, titles: Sequence[str], columns: int
) -> dict[str, npt.NDArray[np.intp]]:
    """Which images make up each row: equal shares of the beginning, the middle and the end of the ranking."""
    columns = min(columns, count)
    if errors is None:
        some = np.linspace(0, count - 1, min(len(titles) * columns, count)).round().astype(np.intp)
        # Labels tell rows apart; blank ones of different length do so unseen.
        return {" " * row: some[start : start + columns] for row, start in enumerate(range(0, len(some), columns))}
    ranking = np.argsort(errors, kind="stable")
    starts = np.linspace(0, count - columns, len(titles)).round().astype(int)
    return {title: ranking[start : start + columns] for title, start in zip(titles, starts, strict=True)}


def cells(picture: Images, rows: int = 4) -> npt.NDArray[np.uint8]:
    """The inverse of a `sample_grid` of so many rows: a picture (H, W, 3) → (rows, columns, cell, cell, 3).

    Raises BruleError for a picture that is none.
    """
    height, width = picture.shape[:2]
    side, left = (height - 2 * _MARGIN + _GAP) // rows - _GAP, _MARGIN + 30
    columns = (width - left - _MARGIN + _GAP) // max(1, side + _GAP)
    shape = (2 * _MARGIN + rows * (side + _GAP) - _GAP, left + columns * (side + _GAP) - _GAP + _MARGIN)
    if side < 1 or columns < 1 or shape != (height, width):
        raise BruleError(f"a picture of {width} × {height} pixels is no grid of samples; train again")
    corners = [[(_MARGIN + r * (side + _GAP), left + c * (side + _GAP)) for c in range(columns)] for r in range(rows)]
    return np.stack([[picture[y : y + side, x : x + side] for y, x in row] for row in corners])


def _truth(axes: Axes, truth: Points, answer: Points, dot: float) -> None:
    """White dots at the truth and a thin line from each to the answer: its length is the error."""
    segments = list(np.stack([truth, answer], axis=2).reshape(-1, 2, 2))
    axes.add_collection(LineCollection(segments, colors="white", linewidths=0.5, alpha=0.75, zorder=2.6))
    flat = truth.reshape(-1, 2)
    axes.scatter(flat[:, 0], flat[:, 1], s=0.8 * dot**2, c="white", edgecolors="none", zorder=2.7)


def captions(axes: Axes, canvas: Canvas, row: int, errors: npt.NDArray[Any]) -> None:
    """The errors (N,), percent, below the images of a row."""
    for column, error in enumerate(errors):
        x, y = canvas.corner(row, column)
        middle, below = x + canvas.cell / 2, y + canvas.cell + 4
        axes.text(middle, below, f"{error:.1f} %", ha="center", va="top", color=FAINT, fontsize=7)
