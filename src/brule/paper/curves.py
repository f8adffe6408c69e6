"""Fig. 3 and Fig. 6: the courses of runs that MLflow has kept, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from brule.errors import BruleError
from brule.figures.comparison import Curve, Panel, comparison
from brule.paper import runs
from brule.paper.request import Request
from brule.paper.runs import Named
from brule.tracking import reading
from brule.tracking.reading import Store

_ERROR = "validation/nme"
_FLOOR = "evaluation/validation/floor_nme"
_IMAGES = "evaluation/validation/images"
_FIG3 = ("supervised-plain", "supervised")
_FIG6 = ("short", "no-barycenter", "no-geometry")
_GROUP = "ablation"
_LOSSES = {
    "encoder/H_cycle": "H(L_F ‖ L), nats per landmark",
    "encoder/R_b": "R_b",
    "encoder/R_g": "R_g",
}


def fig3(request: Request) -> list[str]:
    """The error of supervised runs over their iterations: the first, without regularisers, orange; the second blue."""
    store = reading.read()
    past, known = store.finished(), runs.rows()
    named = [runs.need(store, past, name, known) for name in request.runs or _FIG3]
    order = [1, 0, *range(2, len(named))]
    labels = {_label(one): order[number] for number, one in enumerate(named)}
    panel = Panel("NME on held-out faces, %", _courses(store, named, _ERROR, needed=True), error=True)
    heading = "Fig. 3 · Supervised training with and without the regularisers L_D and H(L(I_F) ‖ L)"
    comparison([panel], request.out, heading, labels, _note(named), columns=1)
    return [_told(one) for one in named]


def fig6(request: Request) -> list[str]:
    """The ablation's errors with the barycenter's, and the course of three of the losses."""
    store = reading.read()
    past, known = store.finished(), runs.rows()
    named = [runs.need(store, past, name, known) for name in request.runs or _FIG6]
    absent: list[str] = []
    for name in () if request.runs else (name for name, one in known.items() if one.row.group == _GROUP):
        if name not in _FIG6:
            found = runs.find(past, name, known)
            named += [found] if found else []
            absent += [] if found else [name]
    floors = [run.metrics[_FLOOR] for one in named for run in one.runs if _FLOOR in run.metrics]
    labels = {_label(one): number for number, one in enumerate(named)}
    errors = _courses(store, named, _ERROR, needed=True)
    panels = [Panel("NME on held-out faces, %", errors, floor=fmean(floors) if floors else None, error=True)]
    panels += [
        Panel(title, _courses(store, named, metric), absent="no part of these runs' losses")
        for metric, title in _LOSSES.items()
    ]
    heading = "Fig. 6 · Ablation: what each ingredient is worth beside the barycenter"
    comparison(panels, request.out, heading, labels, _note(named), columns=2)
    return [*map(_told, named), *([f"not in MLflow yet: {', '.join(absent)}"] if absent else [])]


def _courses(store: Store, named: Sequence[Named], metric: str, needed: bool = False) -> dict[str, Curve]:
    """{label: the course of a metric}; a loss is averaged over a twenty-fifth of its rows. Raises BruleError for a run
    without one that is needed."""
    found: dict[str, Curve] = {}
    for one in named:
        series = []
        for run in one.runs:
            steps, values = store.course(run, metric)
            if len(steps):
                series.append(pd.Series(values, index=steps))
            elif needed:
                raise BruleError(f"run {run.id} ({run.name}): has no {metric}; its validation images have no landmarks")
        if series:
            table = pd.concat(series, axis=1, join="inner").sort_index()
            if not needed:
                table = table.rolling(max(1, len(table) // 25), min_periods=1, center=True).mean()
            mean, low, high = (getattr(table, name)(axis=1).to_numpy(float) for name in ("mean", "min", "max"))
            found[_label(one)] = Curve(table.index.to_numpy(), mean, low, high)
    return found


def _label(one: Named) -> str:
    """The run in words, and what it came to on the test images."""
    tested = [run.metrics["test/nme"] for run in one.runs if "test/nme" in run.metrics]
    count = f" ({len(one.runs)} run{'s' * (len(one.runs) > 1)})"
    return one.title + count + (f" · test {fmean(tested):.2f} %" if tested else "")


def _note(named: Sequence[Named]) -> str:
    counts = sorted({int(run.metrics[_IMAGES]) for one in named for run in one.runs if _IMAGES in run.metrics})
    parts = ["NME: % of the normalising distance", "test: at the checkpoint that training kept"]
    parts += [f"{' or '.join(map(str, counts))} validation images"] if counts else []
    several = any(len(one.runs) > 1 for one in named)
    parts += ["the mean of several runs in a band from the lowest to the highest"] if several else []
    return "; ".join(parts)


def _told(one: Named) -> str:
    return f"{one.name}: " + ", ".join(f"run {run.id} ({run.name})" for run in one.runs)
