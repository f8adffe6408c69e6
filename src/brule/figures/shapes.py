"""The barycenter X_b among the shapes that it was computed from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.data.schemes import Scheme
from brule.figures.style import FAINT, Sheet, colours, draw

_AT_MOST = 300


def barycenter(points: npt.NDArray[Any], shapes: npt.NDArray[Any] | None, scheme: Scheme, path: Path | str) -> None:
    """Draw X_b (K, 2) over at most 300 of the unpaired shapes (M, K', 2), all in crop units. K' may differ from K."""
    with Sheet(path, 4.4, 4.4) as figure:
        axes = figure.add_axes((0.03, 0.03, 0.94, 0.9))
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


def _frame(axes: Any, cloud: npt.NDArray[Any]) -> None:
    """Limits that hold all but the outermost thousandth of the points, y downwards as in images."""
    low, high = np.quantile(cloud, [0.0005, 0.9995], axis=0)
    margin = 0.04 * float((high - low).max())
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(high[1] + margin, low[1] - margin)
