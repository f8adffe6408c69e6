"""Which of MLflow's finished runs a name means: a row of the results table, an experiment, a run's name or its id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brule import experiments, table
from brule.errors import BruleError
from brule.tracking.reading import Past, Store

TABLE = "table1"


@dataclass(frozen=True)
class Named:
    """The runs that one curve is drawn from: those of several seeds together."""

    name: str
    title: str
    runs: tuple[Past, ...]


def rows(root: Path = Path()) -> dict[str, table.Row]:
    """The rows of the results table, by name."""
    return {row.name: row for row in table.read(root, TABLE).rows}


def find(past: Sequence[Past], name: str, known: dict[str, table.Row]) -> Named | None:
    """The runs of that name among those given, newest first; None where there are none.

    Of a row the newest run of each of its seeds, as `make table1` named them; failing that, the newest run of the row's
    experiment, where that is all there is to the row.
    """
    row = known.get(name)
    title = row.title if row else name
    if row is not None:
        numbered: dict[str, Past] = {}
        for run in past:
            if re.fullmatch(rf"{TABLE}-{re.escape(name)}-\d+", run.name):
                numbered.setdefault(run.name, run)
        if numbered:
            return Named(name, title, tuple(numbered[key] for key in sorted(numbered)))
    wanted = {name}
    if row is not None and not row.overrides and all(set(run) <= {"seed"} for run in row.runs):
        wanted.add(row.experiment)
    single = [run for run in past if run.id == name or run.name in wanted][:1]
    return Named(name, title, tuple(single)) if single else None


def need(store: Store, past: Sequence[Past], name: str, known: dict[str, table.Row]) -> Named:
    """`find`, or a BruleError that says which command makes such a run."""
    if found := find(past, name, known):
        return found
    missing = f"{store.place} has no finished run of {name}"
    if name in known:
        raise BruleError(f'{missing}; make it: make {TABLE} LOCATION=/path/to/300w FLAGS="--rows {name}"')
    if name in experiments.catalogue(Path("experiments")):
        raise BruleError(f"{missing}; make it: python pipelines/experiment.py {name}")
    raise BruleError(
        f"{missing}; give --runs a row of experiments/tables/{TABLE}.yaml, an experiment, or a run's name or id"
    )
