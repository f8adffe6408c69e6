"""Crops with one shape drawn on all of them, its landmarks numbered and named, before anything is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from brule.data.schemes import Scheme
from brule.figures.grids import Canvas, Images
from brule.figures.theme import FAINT, INK, PARTS

NAMED = 30
"""Up to as many landmarks, a legend tells the names of the numbers."""
COLUMNS = 4
_CELL = 360
_LINE = 22  # pixels of a line of the legend
_WIDEST = 56  # characters of a line of the legend
_DARK = "#0b1620"


def sheet(crops: Images, shape: npt.NDArray[Any], scheme: Scheme, path: Path | str, heading: str, note: str) -> None:
    """Draw a shape (K, 2), in crop units, on each of N crops (N, S, S, 3) uint8: edges, dots and numbers from 0.

    What edges or the mirror join has one colour. Below stand the names, where there are at most NAMED.
    """
    columns = min(COLUMNS, len(crops))
    rows = {" " * row: crops[start : start + columns] for row, start in enumerate(range(0, len(crops), columns))}
    lines = legend(scheme) if len(scheme.names) <= NAMED else []
    abreast = max(1, columns * _CELL // (8 * _WIDEST))
    tall = math.ceil(len(lines) / abreast)
    canvas = Canvas(rows, _CELL, heading=heading)
    legends = canvas.height - 4
    canvas.height += _LINE * (tall + 1) + 8
    tint = tints(scheme)
    with canvas.sheet(path) as figure:
        axes = canvas.axes(figure)
        for row, images in enumerate(rows.values()):
            for column, points in enumerate(canvas.place(np.repeat(shape[None], len(images), 0), row)):
                _numbered(axes, points, scheme, tint, np.array(canvas.corner(row, column)))
        for k, (first, text) in enumerate(lines):
            column, line = divmod(k, tall)
            x, y = canvas.left + column * (canvas.width - 2 * canvas.left) / abreast, legends + _LINE * line + 8
            axes.scatter([x + 5], [y], s=22, c=[tint[first]], edgecolors=_DARK, linewidths=0.4)
            axes.text(x + 16, y, text, va="center", color=INK, fontsize=7.5)
        axes.text(canvas.left, canvas.height - 16, note, va="center", color=FAINT, fontsize=7.5)


def legend(scheme: Scheme) -> list[tuple[int, str]]:
    """(the landmark whose colour a line has, the line): a mirrored pair in one line, any other landmark in its own."""
    lines = []
    for k, name in enumerate(scheme.names):
        other = k if scheme.flip is None else scheme.flip[k]
        if other > k:
            lines.append((k, f"{k} {short(name)}  ⇄  {other} {short(scheme.names[other])}"))
        elif other == k:
            lines.append((k, f"{k} {short(name)}"))
    return lines


def short(name: str, most: int = 20) -> str:
    """A name that is not too long for its place."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def tints(scheme: Scheme) -> npt.NDArray[np.float64]:
    """(K, 3) a colour for each landmark: what edges or the mirror join has the same, and neighbours differ."""
    label = list(range(len(scheme.names)))
    joins = [*scheme.edges, *enumerate(scheme.flip or ())]
    for _ in label:  # after each round a join has spread one step further
        before = list(label)
        for a, b in joins:
            label[a] = label[b] = min(label[a], label[b])
        if label == before:
            break
    order = sorted(set(label))
    return np.array([to_rgb(PARTS[order.index(part) % len(PARTS)]) for part in label])


def _numbered(
    axes: Axes, points: npt.NDArray[Any], scheme: Scheme, tint: npt.NDArray[np.float64], corner: npt.NDArray[Any]
) -> None:
    """One shape (K, 2) in pixels of the picture. A number stands on the outer side of its dot, within the crop."""
    many = len(points) > NAMED
    if scheme.edges:
        edges = np.asarray(scheme.edges)
        segments = list(points[edges])
        axes.add_collection(LineCollection(segments, colors=_DARK, linewidths=1.8, alpha=0.35, zorder=3.0))
        axes.add_collection(LineCollection(segments, colors=tint[edges[:, 0]], linewidths=0.9, zorder=3.1))
    axes.scatter(points[:, 0], points[:, 1], s=6 if many else 16, c=tint, edgecolors=_DARK, linewidths=0.4, zorder=3.2)
    for k, ((x, y), away) in enumerate(zip(points, outwards(points), strict=True)):
        x, y = np.clip((x, y) + away * (7 if many else 11), corner + 9, corner + _CELL - 9)
        text = axes.text(x, y, str(k), color=tint[k], fontsize=4.5 if many else 7, ha="center", va="center", zorder=4)
        text.set_path_effects([withStroke(linewidth=1.2 if many else 1.8, foreground=_DARK)])


def outwards(points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(K, 2) of length 1: away from the nearest other landmarks, where there is room for a number."""
    gaps = points[:, None] - points[None]
    distances = np.linalg.norm(gaps, axis=-1)
    scale = np.median(np.sort(distances, axis=1)[:, min(1, len(points) - 1)]) + 1e-9
    push = (gaps / (distances[..., None] + 1e-9) * np.exp(-distances / (2 * scale))[..., None]).sum(1)
    push += 1e-3 * (points - points.mean(0)) / (np.ptp(points) + 1e-9) + [0, -1e-6]
    found: npt.NDArray[np.float64] = push / np.linalg.norm(push, axis=1, keepdims=True)
    return found
