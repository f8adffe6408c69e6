"""Faces and what the GAN draws from their landmarks: Fig. 4 and Fig. 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.data.schemes import Scheme
from brule.figures.grids import Canvas, Images, Points, captions, cell, dot
from brule.figures.style import draw

Errors = npt.NDArray[Any] | None


def restyled(
    rows: Sequence[tuple[Images, Points, Errors]],
    drawn: Images,
    path: Path | str,
    scheme: Scheme,
    heading: str,
    note: str,
) -> None:
    """Rows of faces with the landmarks found on them, and below the last its landmarks as images of the GAN.

    Each row: images (N, S, S, 3) uint8, landmarks (N, K, 2) in crop units, errors (N,) in percent where they are known;
    drawn: (N, S', S', 3) uint8, of the landmarks of the last row.
    """
    labels = [f"found{' ' * row}" for row in range(len(rows))]  # alike to the eye, yet rows of their own
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
