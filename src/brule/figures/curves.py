"""Curves side by side: cumulative error distributions, and runs over their iterations (Fig. 3 and Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brule.figures.theme import FAINT, INK, SERIES, Sheet

Floats = npt.NDArray[np.float64]

_STROKES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.2)))
_DECADES = 30.0
# Inches.
_WIDTH, _LEFT, _RIGHT, _BETWEEN, _TOP, _ROW, _TITLE, _LINE, _NOTE = 9.0, 0.6, 0.2, 0.65, 0.42, 2.35, 0.5, 0.19, 0.3
_YARDSTICKS = ("#94a3b8", "#e8890c", "#12876f", "#8b5cf6")


def ced(curves: Mapping[str, npt.NDArray[Any]], path: Path | str, limit: float = 8.0) -> None:
    """Draw the cumulative distribution of each label's errors (N,), percent: the share of images below each error.

    The first label is the subject, the others are yardsticks. The horizontal axis ends at the 95th percentile of the
    subject, but between 10 and 30 %. `limit` is the error at which AUC and failure rate are read. Without curves the
    picture says so.
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


@dataclass(frozen=True)
class Curve:
    """A quantity over the iterations: the mean over the runs of one kind, and their extremes."""

    steps: npt.NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    """All (n,). For a single run the three are equal."""


@dataclass(frozen=True)
class Panel:
    """One quantity: {label in the legend: curve}. `floor` is drawn in black. A panel without curves says `absent`."""

    title: str
    curves: Mapping[str, Curve]
    floor: float | None = None
    absent: str = "in none of these runs"
    error: bool = False
    """The axis of an error shows how the curves end. That of a loss shows everything, if need be on a log scale."""


def comparison(
    panels: Sequence[Panel], path: Path | str, heading: str, labels: Mapping[str, int], note: str, columns: int
) -> None:
    """Draw the panels in columns, and below them a legend of `labels`: {label: the number of its colour}."""
    rows = -(-len(panels) // columns)
    lines = len(labels) + any(panel.floor is not None for panel in panels)
    height = _TOP + rows * (_ROW + _TITLE) + 0.1 + lines * _LINE + _NOTE
    with Sheet(path, _WIDTH, height) as figure:
        compose(figure, panels, heading, labels, note, columns)


def compose(
    figure: Figure, panels: Sequence[Panel], heading: str, labels: Mapping[str, int], note: str, columns: int
) -> None:
    """Fill a figure of the size that `comparison` chooses."""
    wide, tall = (float(side) for side in figure.get_size_inches())
    width = (wide - _LEFT - _RIGHT + _BETWEEN) / columns - _BETWEEN
    figure.text(0.12 / wide, 1 - 0.26 / tall, heading, fontsize=10.5, fontweight="bold")
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        left, foot = _LEFT + column * (width + _BETWEEN), tall - _TOP - (row + 1) * (_ROW + _TITLE) + 0.25
        axes = figure.add_axes((left / wide, foot / tall, width / wide, _ROW / tall))
        _fill(axes, panel, labels)
        if row == -(-len(panels) // columns) - 1:
            axes.set_xlabel("iteration", fontsize=8)
    known = {label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = sorted(known, key=lambda label: labels.get(label, -1))
    figure.legend(
        [known[label] for label in order],
        order,
        loc="lower left",
        bbox_to_anchor=(0.1 / wide, _NOTE / tall),
        fontsize=8,
        labelspacing=0.35,
        handlelength=2.6,
        borderpad=0,
    )
    figure.text(0.12 / wide, 0.1 / tall, note, fontsize=7, color=FAINT)


def _fill(axes: Axes, panel: Panel, labels: Mapping[str, int]) -> None:
    axes.set_title(panel.title, fontsize=9)
    axes.tick_params(labelsize=8)
    curves = {label: curve for label, curve in panel.curves.items() if len(curve.steps)}
    if not curves:
        axes.text(0.5, 0.5, panel.absent, transform=axes.transAxes, ha="center", fontsize=8, color=FAINT)
        return
    for label, curve in curves.items():
        number = labels[label]
        colour, stroke = SERIES[number % len(SERIES)], _STROKES[number // len(SERIES) % len(_STROKES)]
        if (curve.high > curve.low).any():
            axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        marker = "o" if len(curve.steps) == 1 else None
        axes.plot(curve.steps, curve.mean, color=colour, linestyle=stroke, linewidth=1.6, marker=marker, label=label)
    if panel.floor is not None:
        axes.axhline(panel.floor, color=INK, linewidth=1.4, label=f"the barycenter everywhere: {panel.floor:.2f} %")
    axes.set_xlim(0, max(int(curve.steps[-1]) for curve in curves.values()))
    _limit(axes, panel, [values for curve in curves.values() for values in (curve.low, curve.mean)])


def _limit(axes: Axes, panel: Panel, series: Sequence[Floats]) -> None:
    """Set the vertical axis. For an error, by the last two thirds only, since young encoders have huge errors."""
    finite = [values[np.isfinite(values)] for values in series]
    tails = [values[-max(1, 2 * len(values) // 3) :] if panel.error else values for values in finite]
    shown = np.concatenate([*tails, [] if panel.floor is None else [panel.floor]])
    if not len(shown):
        return
    low, high = float(shown.min()), float(shown.max())
    if not panel.error and low > 0 and high > _DECADES * low:
        axes.set_yscale("log")
        return
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)
