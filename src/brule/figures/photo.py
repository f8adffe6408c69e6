"""One photo with the landmarks that were found on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from brule.data.schemes import Scheme
from brule.figures.style import Sheet, draw

LONGEST = 1600
"""Pixels of a picture's longer side; larger photos are reduced to it."""
_SHORTEST = (
    240  # smaller ones are enlarged until their shorter side has as many, where that leaves the longer in bounds
)
_DPI = 150.0
_POINTS = 72 / _DPI  # typographic points, of a pixel


def photo(image: Image.Image, points: npt.NDArray[Any], path: Path | str, scheme: Scheme) -> None:
    """An RGB image and its landmarks (K, 2), in its own pixels counted from 0 at the centre of the first."""
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
