"""A search for c5 … c10: the score of every trial and the best so far, and the path of each coefficient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brule.figures.style import ACCENT, FAINT, SERIES, Sheet


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
