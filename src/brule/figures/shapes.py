"""The barycenter X_b among the shapes it is computed from, and amid the heatmaps that R_b moves to it (Fig. 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from PIL import Image

from brule.data.schemes import Scheme
from brule.figures.annotation import NAMED, annotate, texts
from brule.figures.grids import Images, enlarge
from brule.figures.theme import FAINT, INK, Sheet, colours, draw, told_by

Maps = npt.NDArray[np.float32]

_CELL, _GAP, _MARGIN, _HEAD, _FOOT, _DPI = 288, 8, 14, 30, 24, 150.0
_NIGHT = 255 * np.array(to_rgb("#0b1620"))
_AROUND = tuple(place for place in range(9) if place != 4)
_AT_MOST = 300
_SIDE = 5.6
"""Inches."""


def barycenter(points: npt.NDArray[Any], shapes: npt.NDArray[Any] | None, scheme: Scheme, path: Path | str) -> None:
    """Draw X_b (K, 2) over at most 300 of the unpaired shapes (M, K', 2), in crop units. K' may differ from K.

    Its landmarks have their names, or their numbers if they are many: it is the key to the other pictures.
    """
    with Sheet(path, _SIDE, _SIDE) as figure:
        axes = figure.add_axes((0.03, 0.05, 0.94, 0.88))
        origin = "" if shapes is None else f" of {len(shapes)} shapes"
        axes.set_title(f"Barycenter{origin}, {len(points)} landmarks")
        axes.set_axis_off()
        axes.set_aspect("equal")
        if shapes is not None and len(shapes):
            some = shapes[np.linspace(0, len(shapes) - 1, min(_AT_MOST, len(shapes))).astype(int)]
            same = some.shape[1] == len(points)
            tint = np.tile(colours(scheme), (len(some), 1)) if same else FAINT
            cloud = some.reshape(-1, 2)
            axes.scatter(cloud[:, 0], cloud[:, 1], s=3, c=tint, alpha=0.16, edgecolors="none", zorder=2)
        draw(axes, points[None], scheme, size=5.0, width=1.8, outline="white")
        _frame(axes, points if shapes is None else np.concatenate([points, shapes.reshape(-1, 2)]))
        axes.apply_aspect()
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        pixel = (right - left) / (72 * _SIDE * axes.get_position().width)  # a typographic point in crop units
        named = len(points) <= NAMED
        font, frame = (7.0 if named else 5.5), (left, top, right, bottom)
        words, gap = texts(scheme, named), 4.5 * pixel
        annotate(axes, points, scheme, words, font=font, pixel=pixel, gap=gap, frame=frame, ink=INK, outline="white")
        figure.text(0.03, 0.015, told_by(scheme), color=FAINT, fontsize=7)


def _frame(axes: Any, cloud: npt.NDArray[Any]) -> None:
    """Set limits that leave out the outermost thousandth of the points, with y downwards as in images."""
    low, high = np.quantile(cloud, [0.0005, 0.9995], axis=0)
    margin = 0.04 * float((high - low).max())
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(high[1] + margin, low[1] - margin)


def ring(centre: Maps, maps: Maps, images: Images, path: Path | str, scheme: Scheme, heading: str, note: str) -> None:
    """Heatmaps (8, K, D, D) on their dimmed images (8, S, S, 3) uint8, around those of the barycenter (K, D, D).

    Every channel is a probability measure, drawn in the colour of its part and scaled to its own peak.
    """
    width = 2 * _MARGIN + 3 * _CELL + 2 * _GAP
    height = width + _HEAD + _FOOT
    paper = np.full((height, width, 3), 255, np.uint8)
    tiles = {4: glow(centre, None, scheme)}
    tiles |= {place: glow(one, image, scheme) for place, one, image in zip(_AROUND, maps, images, strict=True)}
    for place, tile in tiles.items():
        row, column = divmod(place, 3)
        y, x = _HEAD + _MARGIN + row * (_CELL + _GAP), _MARGIN + column * (_CELL + _GAP)
        paper[y : y + _CELL, x : x + _CELL] = tile
    with Sheet(path, width / _DPI, height / _DPI, _DPI) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(paper, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
        axes.text(_MARGIN, _HEAD - 4, heading, color=INK, fontsize=9.5, fontweight="bold", va="bottom")
        middle = _HEAD + _MARGIN + _CELL + _GAP
        axes.text(width / 2, middle + 12, "barycenter", color="white", fontsize=8, ha="center", va="top")
        axes.text(_MARGIN, height - 10, note, color=FAINT, fontsize=7, va="bottom")


def glow(maps: Maps, image: Images | None, scheme: Scheme) -> Images:
    """(K, D, D) of mass 1 per channel → a tile (side, side, 3): Σ_k colour_k L_k / max L_k, over the dimmed image."""
    peaks = maps / np.maximum(maps.max((1, 2), keepdims=True), np.finfo(maps.dtype).tiny)
    layers = (np.asarray(Image.fromarray(layer).resize((_CELL, _CELL), Image.Resampling.BICUBIC)) for layer in peaks)
    light = np.zeros((_CELL, _CELL, 3))
    cover = np.zeros((_CELL, _CELL, 1))
    for colour, layer in zip(colours(scheme), layers, strict=True):
        weight = np.clip(layer, 0, 1)[..., None]
        light += weight * colour
        cover += weight
    ground = np.broadcast_to(_NIGHT, light.shape)
    if image is not None:
        grey = enlarge(image, _CELL).astype(float).mean(-1, keepdims=True)
        ground = _NIGHT + 0.42 * grey
    # Where channels overlap, their colours are averaged; the more there are, the less of the ground shows.
    alpha = 1 - np.exp(-1.6 * cover)
    tile = (1 - alpha) * ground + alpha * 255 * light / np.maximum(cover, 1e-6)
    pixels: Images = np.clip(tile, 0, 255).round().astype(np.uint8)
    return pixels
