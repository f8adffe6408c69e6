"""Names or numbers beside landmarks, each where it covers neither a landmark nor another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from brule.data.schemes import Scheme

Floats = npt.NDArray[np.float64]

NAMED = 24
"""Up to so many landmarks are called by their names, more by their numbers."""
_GLYPH, _LINE = 0.62, 1.15  # width of a letter and height of a line, over the font size
_TURNS = np.radians([0, 45, -45, 90, -90, 135, -135, 180])


def texts(scheme: Scheme, names: bool) -> list[str]:
    """What stands beside each landmark: its name, or its number in the scheme's order, from 0."""
    return [name.replace("_", " ") if names else f"{k}" for k, name in enumerate(scheme.names)]


def annotate(
    axes: Axes,
    points: npt.NDArray[Any],
    scheme: Scheme,
    texts: Sequence[str],
    *,
    font: float,
    pixel: float,
    gap: float,
    frame: tuple[float, float, float, float],
    ink: str = "white",
    outline: str = "#0b1620",
) -> None:
    """Write `texts` beside landmarks (K, 2), in the coordinates of `axes`, with thin lines where one stands apart.

    font: its size in typographic points; pixel: one such point in the coordinates; gap: between a landmark and its
    label; frame: x and y of the first and the last place for text. A label without a place is left out.
    """
    size = font * pixel
    stroke = [withStroke(linewidth=0.28 * font, foreground=outline)]
    for k, (x, y, width), anchor in places(points, scheme, texts, size, gap, frame):
        if anchor is not None:
            axes.plot(*zip(anchor, points[k], strict=True), color=ink, linewidth=0.5, alpha=0.8, zorder=3.6)
        axes.text(
            x + width / 2,
            y,
            texts[k],
            ha="center",
            va="center_baseline",
            fontsize=font,
            color=ink,
            zorder=4.0,
            path_effects=stroke,
        )


def places(
    points: npt.NDArray[Any],
    scheme: Scheme,
    texts: Sequence[str],
    size: float,
    gap: float,
    frame: tuple[float, float, float, float],
) -> Iterator[tuple[int, tuple[float, float, float], tuple[float, float] | None]]:
    """Of every label that has a place: its landmark, its (left, middle height, width), and where a line to it ends.

    None: no line, since it stands close to its landmark; only where landmarks are few may it stand apart. Landmarks
    that lie far from all others come first, and each is followed by its mirror image, so that what is left out of a
    crowd is spread evenly and over both sides.
    """
    points = np.asarray(points, np.float64)
    taken = np.concatenate([points - 0.6 * gap, points + 0.6 * gap], axis=1)  # left, top, right, bottom
    along = np.linspace(0, 1, 10)[1:-1, None]
    steps = [(1 - along) * points[a] + along * points[b] for a, b in scheme.edges]
    lines = np.tile(np.concatenate([points[:0], *steps]), 2)
    reaches = (gap, gap + 1.2 * size, gap + 2.6 * size) if len(points) <= NAMED else (gap,)
    for k in order(points, scheme.flip):
        width, height = max(1, len(texts[k])) * _GLYPH * size, _LINE * size
        boxes = [
            (box, end)
            for box, end in _around(points[k], points.mean(0), width, height, reaches)
            if (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
        ]
        own = [(box, end) for box, end in boxes if not scheme.flip or _closer(box, points[k], points[scheme.flip[k]])]
        # Beside the lines where there is a place, else on one of them; last of all on the side of its mirror image.
        for tried, avoided in ((own, np.concatenate([taken, lines])), (own, taken), (boxes, taken)):
            free = ((box, end) for box, end in tried if not _overlaps(box, avoided))
            if (found := next(free, None)) is not None:
                box, end = found
                taken = np.concatenate([taken, box[None]])
                yield k, (float(box[0]), float(box[1] + box[3]) / 2, width), end
                break


def _around(
    point: Floats, centre: Floats, width: float, height: float, reaches: Sequence[float]
) -> Iterator[tuple[Floats, tuple[float, float] | None]]:
    """Boxes around a landmark, the best first: close ones before far ones, and outward ones before inward ones.

    Each comes with the end of a line to the landmark, if it lies too far away to be clear without.
    """
    out = np.arctan2(*(point - centre)[::-1])
    half = np.array([width, height]) / 2
    for reach in reaches:
        for turn in _TURNS:
            way = np.array([np.cos(out + turn), np.sin(out + turn)])
            near = point + way * reach  # about the box's nearest place
            middle = near + way * half
            yield np.concatenate([middle - half, middle + half]), None if reach == reaches[0] else (near[0], near[1])


def order(points: Floats, flip: tuple[int, ...] | None) -> list[int]:
    """Every landmark once: the one farthest from the centre, then always the one farthest from those before it.

    Each is followed by its mirror image, if it has one.
    """
    distance = np.linalg.norm(points - points.mean(0), axis=-1)
    chosen: list[int] = []
    while len(chosen) < len(points):
        first = int(np.argmax(distance))
        for k in dict.fromkeys((first, flip[first] if flip else first)):
            chosen.append(k)
            reached = np.linalg.norm(points - points[k], axis=-1)
            distance = np.minimum(distance, reached) if len(chosen) > 1 else reached
        distance[chosen] = -1.0
    return chosen


def _closer(box: Floats, one: Floats, other: Floats) -> bool:
    """Whether a box lies at least as close to one point as to another."""
    middle = (box[:2] + box[2:]) / 2
    return bool(np.linalg.norm(middle - one) <= np.linalg.norm(middle - other))


def _overlaps(box: Floats, taken: Floats) -> bool:
    apart = (taken[:, 2] <= box[0]) | (taken[:, 0] >= box[2]) | (taken[:, 3] <= box[1]) | (taken[:, 1] >= box[3])
    return bool((~apart).any())
