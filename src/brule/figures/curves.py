"""The cumulative error distribution: which share of the images is answered better than a given error.

How a training went: the error on held-out faces against the floor, the monitors of collapse, and every loss.

Runs side by side over their iterations, a run's colour and stroke the same in every panel: Fig. 3 and Fig. 6.

A search for c5 … c10: the score of every trial and the best so far, and the path of each coefficient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brule.errors import BruleError
from brule.figures.theme import ACCENT, FAINT, INK, SERIES, WARNING, Sheet


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


_COLUMNS = 4
_HEADINGS = {"monitors": "Monitors of collapse", "encoder": "Encoder", "gan": "Generator and discriminator"}
# Inches, from the top: the error's panel, then for each group a heading and rows of small panels.
_WIDTH, _LEFT, _RIGHT, _TOP, _FIRST, _HEADING, _PANEL = 9.0, 0.5, 0.15, 0.35, 2.3, 0.5, 0.95
_PITCH, _BETWEEN = _PANEL + 0.5, 0.55


def history(
    path_csv: Path | str, path_png: Path | str, floor: float | None = None, limits: Mapping[str, float] | None = None
) -> None:
    """Draw results/history.csv: validation NME and W₁ with the floor (percent), then every group of columns in panels.

    The table has `iteration`, `stage`, then columns such as `validation/nme`, `monitors/spread` and `encoder/R_b`; a
    column without a value is left out. `limits` maps a monitor (`spread`) to the value at which it alarms: a line.
    """
    table = _read(Path(path_csv))
    groups = _groups(table)
    rows = {group: -(-len(names) // _COLUMNS) for group, names in groups.items()}
    height = _TOP + _FIRST + sum(_HEADING + count * _PITCH for count in rows.values())
    with Sheet(path_png, _WIDTH, height) as figure:

        def panel(left: float, top: float, width: float, tall: float) -> Axes:
            return figure.add_axes((left / _WIDTH, 1 - (top + tall) / height, width / _WIDTH, tall / height))

        _validation(panel(_LEFT, _TOP, _WIDTH - _LEFT - _RIGHT, _FIRST - 0.4), table, floor)
        top = _TOP + _FIRST
        width = (_WIDTH - _LEFT - _RIGHT + _BETWEEN) / _COLUMNS - _BETWEEN
        for group, count in rows.items():
            heading = _HEADINGS.get(group, group.capitalize())
            figure.text(_LEFT / _WIDTH, 1 - (top + 0.2) / height, heading, fontsize=10, va="bottom")
            for number, name in enumerate(groups[group]):
                left = _LEFT + number % _COLUMNS * (width + _BETWEEN)
                axes = panel(left, top + _HEADING + number // _COLUMNS * _PITCH, width, _PANEL)
                _small(axes, table, name, (limits or {}).get(name.removeprefix("monitors/")))
            top += _HEADING + count * _PITCH


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except OSError:
        raise BruleError(f"{path}: is missing or cannot be read; run the train stage again") from None
    except ValueError:
        raise BruleError(f"{path}: is damaged; run the train stage again") from None
    if not {"iteration", "stage"} <= set(table):
        raise BruleError(f"{path}: is damaged; run the train stage again")
    return table


def _groups(table: pd.DataFrame) -> dict[str, list[str]]:
    """The columns with a value, by what stands before their slash; validation and tuning are drawn elsewhere."""
    groups: dict[str, list[str]] = {}
    for name in map(str, table):
        group = name.partition("/")[0]
        if "/" in name and group not in ("validation", "tuning") and table[name].notna().any():
            groups.setdefault(group, []).append(name)
    return dict(sorted(groups.items(), key=lambda item: item[0] != "monitors"))


def _series(table: pd.DataFrame, name: str) -> tuple[Any, Any]:
    """Iterations and values of a column where it has a finite value."""
    if name not in table:
        return np.empty(0), np.empty(0)
    values = table[name].to_numpy(dtype=float)
    kept = np.isfinite(values)
    return table["iteration"].to_numpy()[kept], values[kept]


def _validation(axes: Axes, table: pd.DataFrame, floor: float | None) -> None:
    axes.set_title("Error on held-out faces, %")
    axes.tick_params(labelsize=8)
    highest = floor or 0.0
    for number, (name, label) in enumerate({"validation/nme": "NME", "validation/w1": "W₁ score"}.items()):
        iterations, values = _series(table, name)
        if len(values):
            axes.plot(iterations, values, color=SERIES[number], linewidth=1.8, marker=".", markersize=4, label=label)
            highest = max(highest, float(np.quantile(values, 0.9)))
    if floor is not None:
        axes.axhline(floor, color=WARNING, linewidth=1.0, linestyle=(0, (4, 3)), label="floor: barycenter everywhere")
    if highest:
        axes.set_ylim(0, 1.15 * highest)
        _alarmed(axes, table)
        # above the curves, which end anywhere where a run has collapsed
        axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncol=4, handlelength=1.6, frameon=False)
    else:
        axes.text(0.5, 0.5, "no landmarks to measure against", transform=axes.transAxes, ha="center", color=FAINT)
    _stages(axes, table, named=True)


def _alarmed(axes: Axes, table: pd.DataFrame) -> None:
    """A cross above the stages' names for every validation at which a monitor of collapse was beyond its limit."""
    iterations, counts = _series(table, "monitors/alarms")
    if (counts > 0).any():
        fired = iterations[counts > 0]
        foot = axes.get_xaxis_transform()
        axes.plot(fired, [0.12] * len(fired), "x", color=WARNING, markersize=5, transform=foot, label="collapse alarm")


def _small(axes: Axes, table: pd.DataFrame, name: str, limit: float | None) -> None:
    """The values faint, their running mean clear; the axis leaves out the outermost percent."""
    iterations, values = _series(table, name)
    smooth = pd.Series(values).rolling(max(1, len(values) // 25), min_periods=1, center=True).mean()
    axes.plot(iterations, values, color=FAINT, linewidth=0.6, alpha=0.6)
    axes.plot(iterations, smooth, color=ACCENT, linewidth=1.4, marker="." if len(values) == 1 else None)
    low, high = np.quantile(values, [0.01, 0.99]) if len(values) else (0.0, 1.0)
    if limit is not None:
        axes.axhline(limit, color=WARNING, linewidth=0.9, linestyle=(0, (4, 3)))
        low, high = min(low, limit), max(high, limit)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.set_title(name.split("/", 1)[1], fontsize=8)
    axes.tick_params(labelsize=7)
    _stages(axes, table)


def _stages(axes: Axes, table: pd.DataFrame, named: bool = False) -> None:
    """A thin line where one stage of training ends and the next begins, and its name."""
    if table.empty:
        return
    first, last = float(table["iteration"].iloc[0]), float(table["iteration"].iloc[-1])
    axes.set_xlim(first, max(last, first + 1))
    starts = table.groupby("stage", sort=False)["iteration"].first()
    for name, start in starts.items():
        if start > first:
            axes.axvline(float(start), color=FAINT, linewidth=0.6)
        if named and len(starts) > 1:
            place = (float(start), 0.0), (3, 3), ("data", "axes fraction"), "offset points"
            axes.annotate(str(name), *place, fontsize=7, color=FAINT)


Floats = npt.NDArray[np.float64]

_STROKES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.2)))
_DECADES = 30.0
# Inches.
_WIDTH, _LEFT, _RIGHT, _BETWEEN, _TOP, _ROW, _TITLE, _LINE, _NOTE = 9.0, 0.6, 0.2, 0.65, 0.42, 2.35, 0.5, 0.19, 0.3


@dataclass(frozen=True)
class Curve:
    """A quantity over the iterations: the mean over the runs of one kind, and their extremes."""

    steps: npt.NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    """All (n,); of a single run the three are equal."""


@dataclass(frozen=True)
class Panel:
    """One quantity: {label of the legend: curve}; `floor` is drawn in black, a panel without curves says `absent`."""

    title: str
    curves: Mapping[str, Curve]
    floor: float | None = None
    absent: str = "in none of these runs"
    error: bool = False
    """An error's axis shows how the curves end; a loss's shows all of it, and is logarithmic where it spans decades."""


def comparison(
    panels: Sequence[Panel], path: Path | str, heading: str, labels: Mapping[str, int], note: str, columns: int
) -> None:
    """Draw the panels in so many columns, below them a legend of `labels`: {label: the number of its colour}."""
    rows = -(-len(panels) // columns)
    lines = len(labels) + any(panel.floor is not None for panel in panels)
    height = _TOP + rows * (_ROW + _TITLE) + 0.1 + lines * _LINE + _NOTE
    with Sheet(path, _WIDTH, height) as figure:
        compose(figure, panels, heading, labels, note, columns)


def compose(
    figure: Figure, panels: Sequence[Panel], heading: str, labels: Mapping[str, int], note: str, columns: int
) -> None:
    """Fill a figure as `comparison` does, whose size it has."""
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
    """The vertical axis; of an error the last two thirds, for young encoders fall from great heights."""
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


def search(table: pd.DataFrame, path: Path | str) -> None:
    """Draw trials, one a row in order: `tuning/trial`, `tuning/score` (W₁, percent), `tuning/incumbent` (the number of
    the best trial then), `tuning/best` (its score) and `tuning/c5` …, drawn as multiples of the first trial's."""
    names = [name for name in map(str, table) if name.startswith("tuning/c") and table[name].notna().all()]
    with Sheet(path, 7.2, 5.8) as figure:
        if table.empty:
            figure.text(0.5, 0.5, "no trial has ended", ha="center", color=FAINT)
            return
        _scores(figure, table)
        _path(figure, table, names)


def _scores(figure: Figure, table: pd.DataFrame) -> None:
    axes = figure.add_axes((0.09, 0.63, 0.88, 0.31))
    axes.set_title("W₁ on the validation split, % of the normalising distance")
    trials, scores = table["tuning/trial"], table["tuning/score"].replace(np.inf, np.nan)
    axes.plot(trials, scores, "o", color=FAINT, markersize=4, label="a trial")
    axes.step(trials, table["tuning/best"], where="post", color=ACCENT, linewidth=1.8, label="the incumbent")
    low, high = float(scores.min()), max(float(scores.quantile(0.9)), float(scores.iloc[0]))
    if np.isfinite(low) and high > low:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncol=2)


def _path(figure: Figure, table: pd.DataFrame, names: list[str]) -> None:
    axes = figure.add_axes((0.09, 0.17, 0.88, 0.36))
    axes.set_title("Coefficients, as multiples of those at the start")
    axes.set_xlabel("trial")
    axes.set_yscale("log")
    at = {float(number): row for row, number in enumerate(table["tuning/trial"])}
    held = [at.get(float(number), 0) for number in table["tuning/incumbent"]]
    for number, name in enumerate(names):
        share = (table[name] / table[name].iloc[0]).to_numpy()
        colour = SERIES[number % len(SERIES)]
        axes.plot(table["tuning/trial"], share, ".", color=colour, markersize=3, alpha=0.5)
        label = f"{name.removeprefix('tuning/')}: {table[name].iloc[0]:.3g} → {table[name].iloc[held[-1]]:.3g}"
        axes.step(table["tuning/trial"], share[held], where="post", color=colour, linewidth=1.6, label=label)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=3, columnspacing=2, handlelength=1.2)
