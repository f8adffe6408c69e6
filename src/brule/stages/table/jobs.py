"""From rows to runs: the complete, checked parameters of each, and what must be equal for a result to be used again."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from brule import identity
from brule.config import parse
from brule.errors import BruleError
from brule.stages import experiments
from brule.stages.experiments import Parameters
from brule.stages.table.rows import FOLDER, Row, Table

UNSET = "(not given)"
"""Stands for a place that this call was not told: enough to check a row and to find its earlier results."""


@dataclass(frozen=True)
class Job:
    """One run of a row."""

    row: Row
    index: int
    name: str
    """<row>-<index>."""
    parameters: Parameters
    initial: str | None
    """The name of the job whose detector this one starts from."""
    missing: tuple[str, ...]
    """The places that it needs and this call was not told."""
    content: str
    """What it computes; see `identity.content`."""

    def digest(self, weights: str | None) -> str:
        """16 hexadecimal digits; a result that bears them, and these initial weights' digest, is this job's result."""
        return identity.started(self.content, weights)


def plan(root: Path, name: str, table: Table, assignments: Iterable[str] = ()) -> list[Job]:
    """Every run of the table in order, under `assignments` (`key=value`). Raises BruleError naming the row at fault."""
    assignments, computes = list(assignments), identity.code(root / "src" / "brule")
    counts = {row.name: len(row.runs) for row in table.rows}
    jobs = []
    for row in table.rows:
        for index in range(len(row.runs)):
            try:
                parameters, missing = _parameters(root, row, index, assignments)
                content = identity.content(root, parse(parameters), computes)
            except BruleError as error:
                raise BruleError(f"{FOLDER / name}.yaml, row {row.name}: {error}") from None
            initial = row.initial and f"{row.initial}-{index if index < counts[row.initial] else 0}"
            jobs.append(Job(row, index, f"{row.name}-{index}", parameters, initial, missing, content))
    return jobs


def chosen(jobs: Sequence[Job], rows: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Job]:
    """The jobs of these rows and seeds (empty: all), with those that they start from. Raises BruleError for a row that
    there is not."""
    known = list(dict.fromkeys(job.row.name for job in jobs))
    if unknown := [row for row in rows if row not in known]:
        raise BruleError(f"--rows {unknown[0]}: the table has no such row; it has {', '.join(known)}")
    named = {
        job.name
        for job in jobs
        if (not rows or job.row.name in rows) and (not seeds or job.parameters["seed"] in seeds)
    }
    for job in reversed(jobs):  # a job comes after the one it starts from
        if job.name in named and job.initial is not None:
            named.add(job.initial)
    return [job for job in jobs if job.name in named]


def _parameters(root: Path, row: Row, index: int, assignments: list[str]) -> tuple[Parameters, tuple[str, ...]]:
    own = [f"{key}={json.dumps(value)}" for key, value in row.runs[index].items()]
    places = [f"{place}={UNSET}" for place in ("data.location", "data.extra.location")]
    wanted = experiments.plan(root, row.experiment, [*places, *own, *assignments])
    if wanted["data"]["source"] == "synthetic":  # what a run does not read must not tell it from another
        wanted = experiments.merge(wanted, {"data.location": None})
    if wanted["data"]["extra"]["source"] is None:
        wanted = experiments.merge(wanted, {"data.extra.location": None})
    given = {"data.location": wanted["data"]["location"], "data.extra.location": wanted["data"]["extra"]["location"]}
    return wanted, tuple(place for place, value in given.items() if value == UNSET)
