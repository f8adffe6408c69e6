"""Results that MLflow has and the ledger lacks: of another machine on the same server, or of a plain `dvc exp run`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from brule.errors import BruleError
from brule.identity import started
from brule.stages.table.jobs import Job
from brule.stages.table.ledger import Entry, Ledger
from brule.tracking import past as reading
from brule.tracking.past import Past

_TOLD = ("content", "weights", "alarms")
_SPLITS = {"test": "test/", "validation": "evaluation/validation/"}


def take(jobs: Sequence[Job], ledger: Ledger) -> list[str]:
    """`collect` from the store that training writes to; one that is not there costs a sentence, not the table."""
    try:
        runs = reading.read().finished()
    except BruleError as error:
        return [f"nothing is taken from MLflow: {error}"]
    return collect(jobs, ledger, runs)


def collect(jobs: Sequence[Job], ledger: Ledger, runs: Sequence[Past]) -> list[str]:
    """Take over, for every job without a result of its own, the newest of these runs that is its result; in sentences.

    It is where `train` noted there the job's parameters and code, and the weights that its start has here; the numbers
    are taken, the detector stays where it is. What the ledger has, and measured later, counts more.
    """
    entries, sentences = ledger.entries(), list[str]()
    measured = [run for run in runs if set(_TOLD) <= set(run.tags) and "test/images" in run.metrics]
    found = {started(run.tags["content"], run.tags.get("initial")): run for run in reversed(measured)}
    fresh: set[str] = set()
    for job in jobs:
        if job.initial is not None and job.initial not in fresh:
            continue
        digest = job.digest(None if job.initial is None else entries[job.initial].weights)
        known, run = entries.get(job.name), found.get(digest)
        if (known is None or known.digest != digest) and run and (known is None or run.finished > known.finished):
            entries[job.name] = _entry(job.name, digest, run)
            ledger.keep(entries[job.name])
            sentences.append(f"{job.name}: measured as run {run.id} of MLflow ({run.name})")
        if job.name in entries and entries[job.name].digest == digest:
            fresh.add(job.name)
    return sentences


def _entry(name: str, digest: str, run: Past) -> Entry:
    return Entry(
        name=name,
        digest=digest,
        source=run.params["data.source"],
        **{split: _scores(run.metrics, prefix) for split, prefix in _SPLITS.items()},
        alarms=tuple(json.loads(run.tags["alarms"])),
        seconds=run.metrics["final/seconds"],
        threads=int(run.metrics["final/threads"]),
        experiment=run.name,
        mlflow_run_id=run.id,
        weights=run.tags["weights"],
        finished=run.finished,
    )


def _scores(metrics: Mapping[str, float], prefix: str) -> dict[str, Any]:
    """The inverse of `evaluation.numbers` for one split."""
    scores: dict[str, Any] = {}
    for name, value in metrics.items():
        if name.startswith(prefix):
            *above, last = name.removeprefix(prefix).split("/")
            inner = scores.setdefault(above[0], {}) if above else scores
            inner[last] = int(value) if last == "images" else value
    return scores
