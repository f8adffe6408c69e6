"""The look of all pictures: colours, type, and how landmarks are drawn, for any K and any scheme."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from brule.data.schemes import Scheme
from brule.files import atomic

INK = "#1f2933"
FAINT = "#9aa5b1"
RULE = "#e4e7eb"
ACCENT = "#2563eb"
WARNING = "#d64545"
SERIES = (ACCENT, "#e8890c", "#12876f", "#8b5cf6", "#c2416c", "#64748b")
# One hue per part: light enough to show on skin and on hair, dark enough to show on white.
PARTS = ("#38bdf8", "#fbbf24", "#fb923c", "#4ade80", "#2dd4bf", "#a78bfa", "#818cf8", "#fb7185", "#f9a8d4")

_TYPE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a name may hold a dollar sign
}


class Sheet:
    """A white figure in the house style: `with Sheet(path, width, height) as figure: …` writes it at the end.

    Width and height are in inches. It uses matplotlib's objects directly, without a window system and without pyplot.
    """

    def __init__(self, path: Path | str, width: float, height: float, dpi: float = 150.0) -> None:
        self.path, self.dpi = Path(path), dpi
        self.style = rc_context(_TYPE)
        self.size = (width, height)

    def __enter__(self) -> Figure:
        self.style.__enter__()
        self.figure = Figure(figsize=self.size, dpi=self.dpi, facecolor="white")
        FigureCanvasAgg(self.figure)
        return self.figure

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                with atomic(self.path) as temporary:
                    # Neither date nor version, so that the same numbers give the same bytes.
                    self.figure.savefig(temporary, format="png", metadata={"Software": None})
        finally:
            self.style.__exit__(None, None, None)


@lru_cache(maxsize=8)
def part_of(scheme: Scheme) -> tuple[int, ...]:
    """(K,) the number of each landmark's part: what edges join, and its mirror image. -1: the landmark has no edge."""
    label = list(range(len(scheme.names)))
    for _ in range(len(label)):
        before = list(label)
        for a, b in (*scheme.edges, *enumerate(scheme.flip or ())):
            label[a] = label[b] = min(label[a], label[b])
        if label == before:
            break
    joined = {point for edge in scheme.edges for point in edge}
    order = sorted({label[point] for point in joined})
    return tuple(order.index(label[point]) if point in joined else -1 for point in range(len(label)))


@lru_cache(maxsize=8)
def side_of(scheme: Scheme) -> tuple[int, ...]:
    """(K,) −1: called left, or the first of a pair whose names do not tell; 1: the other of such a pair; 0: neither."""
    sides = []
    for k, other in enumerate(scheme.flip or range(len(scheme.names))):
        words = [set(re.findall("[a-z]+", scheme.names[i].lower())) for i in (k, other)]
        left = [("left" in own) - ("right" in own) for own in words]
        sides.append(
            0 if k == other else -int(np.sign(left[0])) if left[0] == -left[1] != 0 else -1 if k < other else 1
        )
    return tuple(sides)


def told_by(scheme: Scheme) -> str:
    """How the shades tell the two sides apart, in words; empty if no landmark has a mirror image."""
    sides = side_of(scheme)
    if not any(sides):
        return ""
    named = any("left" in name.lower() for name in scheme.names)
    return "light: left, dark: right" if named else "light and dark: the first and the second of each mirrored pair"


def colours(scheme: Scheme) -> npt.NDArray[np.float64]:
    """(K, 3) one colour per landmark: that of its part, or the first one if it has no edge.

    Of two landmarks that a mirror swaps, the left one is lighter and the right one darker.
    """
    tint = np.array([to_rgb(PARTS[part % len(PARTS)] if part >= 0 else PARTS[0]) for part in part_of(scheme)])
    side = np.array(side_of(scheme))[:, None]
    shaded: npt.NDArray[np.float64] = np.where(side < 0, 1 - 0.5 * (1 - tint), np.where(side > 0, 0.62 * tint, tint))
    return shaded


def draw(
    axes: Axes,
    points: npt.NDArray[Any],
    scheme: Scheme,
    *,
    size: float,
    width: float,
    outline: str | None = "#0b1620",
    zorder: float = 3.0,
) -> None:
    """Draw landmarks (N, K, 2) in the coordinates of `axes`: edges, and a dot for each landmark above them.

    `size` is the diameter of a dot and `width` that of a line, in typographic points.
    """
    tint = colours(scheme)
    if scheme.edges and width > 0:
        edges = np.asarray(scheme.edges)
        segments = list(points[:, edges].reshape(-1, 2, 2))
        shades = np.tile(tint[edges[:, 0]], (len(points), 1))
        if outline:
            halo = LineCollection(segments, colors=outline, linewidths=2.2 * width, alpha=0.35, zorder=zorder)
            axes.add_collection(halo)
        axes.add_collection(LineCollection(segments, colors=shades, linewidths=width, zorder=zorder + 0.1))
    flat = points.reshape(-1, 2)
    axes.scatter(
        flat[:, 0],
        flat[:, 1],
        s=size**2,
        c=np.tile(tint, (len(points), 1)),
        edgecolors=outline or "none",
        linewidths=0.3 * width if outline else 0,
        zorder=zorder + 0.2,
    )
