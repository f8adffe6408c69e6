"""Which of MLflow's finished runs a name means: a row of the results table, an experiment, a run's name or its id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brule import experiments, table
from brule.errors import BruleError
from brule.tracking.reading import Past, Store
from brule.tracking.run import public

TABLE = "table1"


@dataclass(frozen=True)
class Named:
    """The runs that one curve is drawn from: those of several seeds together."""

    name: str
    title: str
    runs: tuple[Past, ...]


@dataclass(frozen=True)
class Known:
    """A row of the results table."""

    row: table.Row
    measured: Mapping[str, str]
    """{id of an MLflow run: <row>-<seed>}: the runs that its numbers are from."""


def rows(root: Path = Path()) -> dict[str, Known]:
    """The rows of the results table, by name."""
    entries = table.Ledger(root, TABLE).entries().values()
    ids = {entry.mlflow_run_id: entry.name for entry in entries if entry.mlflow_run_id}
    return {
        row.name: Known(row, {id: name for id, name in ids.items() if name.rpartition("-")[0] == row.name})
        for row in table.read(root, TABLE).rows
    }


def find(past: Sequence[Past], name: str, known: Mapping[str, Known]) -> Named | None:
    """The runs of that name among those given, newest first; None where there are none.

    Of a row, for each of its seeds, the run that the table's number is from, or else the newest that `make table1`
    named so; failing that, the newest run of the row's experiment, where that is all there is to the row.
    """
    if name not in known:
        single = [run for run in past if name in (run.id, run.name)][:1]
        return Named(name, name, tuple(single)) if single else None
    row, measured = known[name].row, known[name].measured
    numbered = {measured[run.id]: run for run in past if run.id in measured}
    for run in past:
        if named := re.fullmatch(rf"{TABLE}-({re.escape(name)}-\d+)", run.name):
            numbered.setdefault(named[1], run)
    if not numbered and all(set(run) <= {"seed"} for run in row.runs):
        numbered = {run.name: run for run in reversed(past) if run.name == row.experiment}
    return Named(name, row.title, tuple(numbered[key] for key in sorted(numbered))) if numbered else None


def need(store: Store, past: Sequence[Past], name: str, known: Mapping[str, Known]) -> Named:
    """`find`, or a BruleError that says which command makes such a run."""
    if found := find(past, name, known):
        return found
    missing = f"{public(store.place)} has no finished run of {name}"
    if name in known:
        raise BruleError(f'{missing}; make it: make {TABLE} LOCATION=/path/to/300w FLAGS="--rows {name}"')
    if name in experiments.catalogue(Path("experiments")):
        raise BruleError(f"{missing}; make it: python pipelines/experiment.py {name}")
    raise BruleError(
        f"{missing}; give --runs a row of experiments/tables/{TABLE}.yaml, an experiment, or a run's name or id"
    )
