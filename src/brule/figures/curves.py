"""The cumulative error distribution: which share of the images is answered better than a given error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.figures.style import FAINT, SERIES, Sheet


def ced(curves: Mapping[str, npt.NDArray[Any]], path: Path | str, limit: float = 8.0) -> None:
    """Draw one curve for each label; errors (N,) in percent. The first label is the subject, the others its yardsticks.

    The horizontal axis ends where the subject has answered 95 % of the images, within 10 … 30 %; `limit` is the error
    at which AUC and failure rate are read. Without any curve the picture says so.
    """
    with Sheet(path, 5.6, 4.1) as figure:
        axes = figure.add_axes((0.105, 0.245, 0.86, 0.68))
        axes.set_title("Share of the images with an error below …")
        axes.set_xlabel("NME, % of the normalising distance")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        if not curves:
            axes.text(0.5, 0.5, "no landmarks to measure against", transform=axes.transAxes, ha="center", color=FAINT)
            return
        reach = float(np.clip(np.ceil(np.quantile(next(iter(curves.values())), 0.95)), 10, 30))
        axes.set_xlim(0, reach)
        axes.axvline(limit, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        for number, (label, errors) in enumerate(curves.items()):
            ordered = np.concatenate([[0.0], np.sort(errors)])
            shares = np.arange(len(ordered)) / len(errors)
            axes.step(
                np.append(ordered, max(reach, ordered[-1])),
                np.append(shares, 1.0),
                where="post",
                color=SERIES[number % len(SERIES)] if number == 0 else _YARDSTICKS[(number - 1) % len(_YARDSTICKS)],
                linewidth=2.2 if number == 0 else 1.2,
                zorder=3 if number == 0 else 2,
                label=f"{label}, mean {np.mean(errors):.1f} %",
            )
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=2, fontsize=7.5, handlelength=1.2, columnspacing=1.5
        )


_YARDSTICKS = ("#94a3b8", "#e8890c", "#12876f", "#8b5cf6")
