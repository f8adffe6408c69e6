"""Fig. 3, 6 and 8: how trainings went, from the runs that MLflow keeps.

A name may stand for a row of the results table, an experiment, or a run by its name or its id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brule.errors import BruleError, public
from brule.figures.curves import Curve, Panel, comparison
from brule.figures.grids import cells, frames, whole
from brule.stages import experiments, table
from brule.stages.paper import Request
from brule.tracking import past
from brule.tracking.past import Past, Store

TABLE = "table1"
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
_FRAMES, _FACES = 8, 4
_ALARMS = "monitors/alarms"
_RESULTS = Path("results")


@dataclass(frozen=True)
class Named:
    """The runs that one curve is drawn from: one for each seed."""

    name: str
    title: str
    runs: tuple[Past, ...]


@dataclass(frozen=True)
class Known:
    """A row of the results table."""

    row: table.Row
    measured: Mapping[str, str]
    """{id of an MLflow run: name of the job it measured}: the runs that the row's numbers come from."""


def rows(root: Path = Path()) -> dict[str, Known]:
    """The rows of the results table, by name."""
    entries = [entry for entry in table.Ledger(root, TABLE).entries().values() if entry.mlflow_run_id]
    return {
        row.name: Known(row, {str(entry.mlflow_run_id): entry.name for entry in entries if entry.row == row.name})
        for row in table.read(root, TABLE).rows
    }


def find(finished: Sequence[Past], name: str, known: Mapping[str, Known]) -> Named | None:
    """The runs of that name among those given (newest first); None if there are none.

    For each run of a row that is the one that the table's number comes from, or else the newest that `make table1` gave
    that name. If there is neither, it is the newest run of the row's experiment, provided that the row's runs differ
    from the experiment in their seed alone.
    """
    if name not in known:
        single = [run for run in finished if name in (run.id, run.name)][:1]
        return Named(name, name, tuple(single)) if single else None
    row, measured = known[name].row, known[name].measured
    numbered = {measured[run.id]: run for run in finished if run.id in measured}
    for run in finished:
        if named := re.fullmatch(rf"{TABLE}-({re.escape(name)}-\d+)", run.name):
            numbered.setdefault(named[1], run)
    if not numbered and all(set(run) <= {"seed"} for run in row.runs):
        numbered = {run.name: run for run in reversed(finished) if run.name == row.experiment}
    return Named(name, row.title, tuple(numbered[key] for key in sorted(numbered))) if numbered else None


def need(store: Store, finished: Sequence[Past], name: str, known: Mapping[str, Known]) -> Named:
    """As `find`. Raises BruleError, with the command that makes such a run, if there is none."""
    if found := find(finished, name, known):
        return found
    missing = f"{public(store.place)} has no finished run of {name}"
    if name in known:
        raise BruleError(f'{missing}; make it: make {TABLE} LOCATION=/path/to/300w FLAGS="--rows {name}"')
    if name in experiments.catalogue(Path("experiments")):
        raise BruleError(f"{missing}; make it: python pipelines/experiment.py {name}")
    raise BruleError(
        f"{missing}; give --runs a row of experiments/tables/{TABLE}.yaml, an experiment, or a run's name or id"
    )


def fig3(request: Request) -> list[str]:
    """The error of supervised runs over their iterations: without regularisers orange (the first), with them blue."""
    store = past.read()
    finished, known = store.finished(), rows()
    named = [need(store, finished, name, known) for name in request.runs or _FIG3]
    order = [1, 0, *range(2, len(named))]
    labels = {_label(one): order[number] for number, one in enumerate(named)}
    panel = Panel("NME on held-out faces, %", _courses(store, named, _ERROR, needed=True), error=True)
    heading = "Fig. 3 · Supervised training with and without the regularisers L_D and H(L(I_F) ‖ L)"
    comparison([panel], request.out, heading, labels, _note(named), columns=1)
    return [_ids(one) for one in named]


def fig6(request: Request) -> list[str]:
    """The errors of the ablation beside the barycenter's, and the courses of three losses."""
    store = past.read()
    finished, known = store.finished(), rows()
    named = [need(store, finished, name, known) for name in request.runs or _FIG6]
    absent: list[str] = []
    for name in () if request.runs else (name for name, one in known.items() if one.row.group == _GROUP):
        if name not in _FIG6:
            found = find(finished, name, known)
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
    return [*map(_ids, named), *([f"not in MLflow yet: {', '.join(absent)}"] if absent else [])]


def _courses(store: Store, named: Sequence[Named], metric: str, needed: bool = False) -> dict[str, Curve]:
    """{label: the course of a metric}. A loss is averaged over a twenty-fifth of its rows.

    Raises BruleError for a run without a metric that is `needed`.
    """
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
    """The row or run in words, with its error on the test images."""
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


def _ids(one: Named) -> str:
    return f"{one.name}: " + ", ".join(f"run {run.id} ({run.name})" for run in one.runs)


def fig8(request: Request) -> list[str]:
    """A row for each image, a column for each iteration. Iterations at which a collapse monitor fired are red."""
    if len(request.runs) > 1:
        raise BruleError(f"--runs {' '.join(request.runs)}: Fig. 8 shows one run; name one")
    pictures, steps, alarms, origin = _tracked(request.runs[0]) if request.runs else _here()
    chosen = sorted(pictures)
    chosen = [chosen[place] for place in np.unique(np.linspace(0, len(chosen) - 1, _FRAMES).round().astype(int))]
    columns = {iteration: cells(pictures[iteration])[0, :_FACES] for iteration in chosen}
    count = len(columns[chosen[0]])
    heading = f"Fig. 8 · Landmarks of {count} validation images over the iterations{origin}"
    note = "Above: the iteration, red where a collapse monitor was beyond its limit."
    frames(columns, request.out, heading, note, {i for i in chosen if _standing(i, steps, alarms)})
    return []


def _here() -> tuple[Mapping[int, Any], npt.NDArray[Any], npt.NDArray[Any], str]:
    """{iteration: picture} of the last run in the workspace, the steps and values of its alarms, and no name."""
    paths = {int(path.stem): path for path in (_RESULTS / "samples").glob("*.png") if path.stem.isdigit()}
    if not paths:
        raise BruleError(
            f"{_RESULTS / 'samples'}: holds no pictures of a training; run dvc repro, or, for the paper's collapse, "
            "python pipelines/experiment.py collapse"
        )
    pictures = {iteration: np.asarray(whole(path).convert("RGB")) for iteration, path in paths.items()}
    try:
        table = pd.read_csv(_RESULTS / "history.csv")
    except (OSError, ValueError):
        raise BruleError(f"{_RESULTS / 'history.csv'}: is missing or damaged; run the train stage again") from None
    fired = table.dropna(subset=[_ALARMS]) if _ALARMS in table else table.head(0).assign(**{_ALARMS: 0.0})
    return pictures, fired["iteration"].to_numpy(), fired[_ALARMS].to_numpy(), ""


def _tracked(name: str) -> tuple[Mapping[int, Any], npt.NDArray[Any], npt.NDArray[Any], str]:
    """The same of a run in MLflow (of the first, if the name stands for several), and its name."""
    store = past.read()
    run = need(store, store.finished(), name, rows()).runs[0]
    pictures = store.pictures(run, "samples")
    if not pictures:
        raise BruleError(f"run {run.id} ({run.name}): MLflow has no pictures of it; lower machine.sample_every")
    return pictures, *store.course(run, _ALARMS), f" of the run {run.name}"


def _standing(iteration: int, steps: npt.NDArray[Any], alarms: npt.NDArray[Any]) -> bool:
    """Whether an alarm stood at the last validation up to that iteration."""
    before = int(np.searchsorted(steps, iteration, side="right"))
    return bool(before) and bool(alarms[before - 1] > 0)
