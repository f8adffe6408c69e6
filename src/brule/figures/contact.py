"""Crops with landmarks drawn on them, numbered, and a legend of their names: to look at before or after a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy.typing as npt

from brule.data.schemes import Scheme
from brule.figures.grids import Canvas, Images, numbered
from brule.figures.theme import FAINT, INK, colours, draw, told_by

NAMED = 30
"""Up to as many landmarks, a legend tells the names of the numbers."""
COLUMNS = 4
_CELL = 360
_LINE = 22  # pixels of a line of the legend
_WIDEST = 56  # characters of a line of the legend


def sheet(crops: Images, points: npt.NDArray[Any], scheme: Scheme, path: Path | str, heading: str, note: str) -> None:
    """Draw landmarks (N, K, 2), in crop units, on N crops (N, S, S, 3) uint8: edges, dots and numbers from 0.

    A number that would cover another is left out. Below stand the names, where there are at most NAMED.
    """
    columns = min(COLUMNS, len(crops))
    rows = {" " * row: crops[start : start + columns] for row, start in enumerate(range(0, len(crops), columns))}
    lines = legend(scheme) if len(scheme.names) <= NAMED else []
    abreast = max(1, columns * _CELL // (8 * _WIDEST))
    tall = math.ceil(len(lines) / abreast)
    canvas = Canvas(rows, _CELL, heading=heading)
    legends = canvas.height - 4
    canvas.height += _LINE * (tall + 1) + 8
    tint, few = colours(scheme), len(scheme.names) <= NAMED
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for row in range(len(rows)):
            placed = canvas.place(points[row * columns : (row + 1) * columns], row)
            draw(axes, placed, scheme, size=4.0 if few else 2.4, width=0.9)
            numbered(axes, canvas, row, placed, scheme, font=7.0 if few else 4.5)
        for k, (members, text) in enumerate(lines):
            column, line = divmod(k, tall)
            x, y = canvas.left + column * (canvas.width - 2 * canvas.left) / abreast, legends + _LINE * line + 8
            places = [x + 5 + 12 * place for place in range(len(members))]
            axes.scatter(places, [y] * len(members), s=22, c=tint[list(members)], edgecolors=INK, linewidths=0.4)
            axes.text(x + 28, y, text, va="center", color=INK, fontsize=7.5)
        told = f"{note} {sides.capitalize()}." if (sides := told_by(scheme)) else note
        axes.text(canvas.left, canvas.height - 16, told, va="center", color=FAINT, fontsize=7.5)


def legend(scheme: Scheme) -> list[tuple[tuple[int, ...], str]]:
    """(the landmarks of a line, the line): a mirrored pair in one line, any other landmark in its own."""
    lines: list[tuple[tuple[int, ...], str]] = []
    for k, name in enumerate(scheme.names):
        other = k if scheme.flip is None else scheme.flip[k]
        if other > k:
            lines.append(((k, other), f"{k} {short(name)}  ⇄  {other} {short(scheme.names[other])}"))
        elif other == k:
            lines.append(((k,), f"{k} {short(name)}"))
    return lines


def short(name: str, most: int = 20) -> str:
    """A name that is not too long for its place."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
