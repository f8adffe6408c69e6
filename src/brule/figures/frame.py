"""Landmarks on a frame of a video: quicker than a figure, since a film has thousands."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from brule.data.schemes import Scheme
from brule.figures.style import colours

_FINE = 4  # drawn so many times larger, and reduced: PIL's lines have stairs otherwise
_OUTLINE = (11, 22, 32)


def marked(pixels: npt.NDArray[np.uint8], points: npt.NDArray[Any], scheme: Scheme) -> npt.NDArray[np.uint8]:
    """A copy of a picture (H, W, 3) with landmarks (K, 2), in its pixels counted from 0 at the centre of the first."""
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
