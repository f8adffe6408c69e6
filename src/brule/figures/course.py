"""The landmarks of the same faces over the course of a training: Fig. 8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from brule.figures.grids import Canvas, Images
from brule.figures.style import INK, WARNING


def frames(columns: Mapping[int, Images], path: Path | str, heading: str, note: str, alarmed: Collection[int]) -> None:
    """A column of faces (N, S, S, 3) uint8, landmarks drawn on them, for every iteration, whose number stands above.

    The numbers of the iterations in `alarmed` are red.
    """
    iterations = list(columns)
    count = len(columns[iterations[0]])
    rows = {" " * face: [columns[iteration][face] for iteration in iterations] for face in range(count)}
    canvas = Canvas(rows, columns[iterations[0]].shape[1], footer=note, heading=heading, above=22)
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for column, iteration in enumerate(iterations):
            x, y = canvas.corner(0, column)
            colour = WARNING if iteration in alarmed else INK
            axes.text(x + canvas.cell / 2, y - 5, f"{iteration}", ha="center", va="bottom", color=colour, fontsize=8)
