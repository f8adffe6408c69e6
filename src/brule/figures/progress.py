"""How a training or a search went.

A training: the error on held-out images against the floor, the monitors of collapse, and every loss. A search for
c5 … c10: the score of every trial, the best so far, and the path of each coefficient.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brule.figures.theme import ACCENT, FAINT, SERIES, WARNING, Sheet

_COLUMNS = 4
_HEADINGS = {"monitors": "Monitors of collapse", "encoder": "Encoder", "gan": "Generator and discriminator"}
# Inches, from the top: the error's panel, then for each group a heading and rows of small panels.
_WIDTH, _LEFT, _RIGHT, _TOP, _FIRST, _HEADING, _PANEL = 9.0, 0.5, 0.15, 0.35, 2.3, 0.5, 0.95
_PITCH, _BETWEEN = _PANEL + 0.5, 0.55


def history(
    table: pd.DataFrame, path_png: Path | str, floor: float | None = None, limits: Mapping[str, float] | None = None
) -> None:
    """Draw results/history.csv: validation NME and W₁ with the floor (percent), then a panel for every other column.

    The table has `iteration`, `stage`, and columns such as `validation/nme`, `monitors/spread` and `encoder/R_b`, which
    are grouped by their first word. A column without values is left out. `limits` maps a monitor (`spread`) to the
    value at which it raises an alarm, drawn as a line.
    """
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


def _groups(table: pd.DataFrame) -> dict[str, list[str]]:
    """The columns with values, by the word before their slash. Validation and tuning are drawn elsewhere."""
    groups: dict[str, list[str]] = {}
    for name in map(str, table):
        group = name.partition("/")[0]
        if "/" in name and group not in ("validation", "tuning") and table[name].notna().any():
            groups.setdefault(group, []).append(name)
    return dict(sorted(groups.items(), key=lambda item: item[0] != "monitors"))


def _series(table: pd.DataFrame, name: str) -> tuple[Any, Any]:
    """The iterations at which a column has a finite value, and these values."""
    if name not in table:
        return np.empty(0), np.empty(0)
    values = table[name].to_numpy(dtype=float)
    kept = np.isfinite(values)
    return table["iteration"].to_numpy()[kept], values[kept]


def _validation(axes: Axes, table: pd.DataFrame, floor: float | None) -> None:
    axes.set_title("Error on held-out images, %")
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
        # Above the axes, since the curves of a collapsed run may end anywhere.
        axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncol=4, handlelength=1.6, frameon=False)
    else:
        axes.text(0.5, 0.5, "no landmarks to measure against", transform=axes.transAxes, ha="center", color=FAINT)
    _stages(axes, table, named=True)


def _alarmed(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a cross above the stages' names for every validation at which a monitor of collapse raised an alarm."""
    iterations, counts = _series(table, "monitors/alarms")
    if (counts > 0).any():
        fired = iterations[counts > 0]
        foot = axes.get_xaxis_transform()
        axes.plot(fired, [0.12] * len(fired), "x", color=WARNING, markersize=5, transform=foot, label="collapse alarm")


def _small(axes: Axes, table: pd.DataFrame, name: str, limit: float | None) -> None:
    """Draw the values faintly and their running mean clearly. The axis leaves out the outermost percent."""
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
    """Draw a thin line where a stage of training begins, and its name."""
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


def search(table: pd.DataFrame, path: Path | str) -> None:
    """Draw trials, one per row in order.

    The columns are `tuning/trial`, `tuning/score` (W₁, percent), `tuning/incumbent` (the number of the best trial so
    far), `tuning/best` (its score) and the coefficients `tuning/c5` …, which are drawn as multiples of the first
    trial's.
    """
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
