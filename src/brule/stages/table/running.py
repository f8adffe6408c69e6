"""Complete a table: use what is measured, run what is not, a row after the one that it starts from."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from brule.errors import BruleError
from brule.identity import sha
from brule.stages import experiments
from brule.stages.experiments import Parameters
from brule.stages.table.jobs import Job
from brule.stages.table.ledger import Entry, Ledger, now


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind."""

    metrics: dict[str, Any]
    """results/metrics.json."""
    train: dict[str, Any]
    """results/train.json."""
    weights: bytes
    """models/detector.safetensors."""


class FailedError(Exception):
    """A run ended with this exit status, or its results cannot be had: the others go on."""


Launch = Callable[[str, Parameters], Outcome]
"""(experiment's name, its complete parameters) → what it leaves; raises FailedError."""


@dataclass
class Summary:
    """How a table's runs went, each as a sentence."""

    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def current(jobs: Sequence[Job], entries: Mapping[str, Entry]) -> set[str]:
    """The names of the jobs whose result is theirs: measured with these parameters, code and initial weights."""
    found: set[str] = set()
    for job in jobs:
        entry = entries.get(job.name)
        if entry is not None and (job.initial is None or job.initial in found):
            initial = None if job.initial is None else entries[job.initial].weights
            found |= {job.name} if entry.digest == job.digest(initial) else set()
    return found


def complete(jobs: Sequence[Job], ledger: Ledger, table: str, launch: Launch) -> Summary:
    """Run every job that has no result yet, in order. Raises BruleError where `data.location` is needed and not told.

    What has finished is in the ledger whatever happens next; a job that fails takes along only those that start from
    it.
    """
    summary, done = Summary(), dict[str, Entry]()
    for number, job in enumerate(jobs, 1):
        label = f"[{number}/{len(jobs)}] {job.row.name}, run {job.index + 1} of {len(job.row.runs)}"
        if job.initial is not None and job.initial not in done:
            summary.skipped.append(f"{job.name} starts from {job.initial}, which has no result")
            continue
        initial = done[job.initial] if job.initial is not None else None
        entries = ledger.entries()
        if _settled(job, jobs, initial, entries, ledger):
            done[job.name] = entries[job.name]
            print(f"{label}: {_told(done[job.name])}, measured before", flush=True)
        elif job.missing:
            summary.skipped.append(_missing(job, table))
        else:
            print(f"{label}: starts", flush=True)
            try:
                done[job.name] = _run(job, initial, ledger, table, launch)
            except FailedError as error:
                summary.failed.append(f"{job.name} failed: {error}")
            print(f"{label}: {_told(done[job.name]) if job.name in done else summary.failed[-1]}", flush=True)
    return summary


def overview(jobs: Sequence[Job], fresh: Collection[str]) -> str:
    """A line for every row: its name, how many of its runs are measured, its title."""
    lines = []
    for name in dict.fromkeys(job.row.name for job in jobs):
        own = [job for job in jobs if job.row.name == name]
        lines.append(f"{name:24} {sum(job.name in fresh for job in own)} of {len(own)} measured  {own[0].row.title}")
    return "\n".join(lines)


def _missing(job: Job, table: str) -> str:
    """Extra images may be missing, and their rows with them; without `data.location` there is no table."""
    if "data.location" in job.missing:
        raise BruleError(f"{job.name} needs data.location; give it: make {table} LOCATION=/path/to/300w")
    return f"{job.name} needs {job.missing[0]}; give it: make {table} LOCATION=… CELEBA=/path/to/img_align_celeba"


def _settled(
    job: Job, jobs: Sequence[Job], initial: Entry | None, entries: Mapping[str, Entry], ledger: Ledger
) -> bool:
    """Measured, and the detector is here unless every job that starts from it is settled, too."""
    entry = entries.get(job.name)
    if entry is None or entry.digest != job.digest(initial.weights if initial else None):
        return False
    later = [other for other in jobs if other.initial == job.name]
    return ledger.weights(entry) is not None or all(_settled(o, jobs, entry, entries, ledger) for o in later)


def _run(job: Job, initial: Entry | None, ledger: Ledger, table: str, launch: Launch) -> Entry:
    parameters = job.parameters
    if initial is not None:
        # Named by its content: DVC sees another start as another parameter. Absolute: it runs in another folder.
        place = ledger.weights(initial)
        assert place is not None, "a job is settled only where its detector is at hand or not needed"
        parameters = experiments.merge(parameters, {"train.initial": str(place.resolve())})
    name = f"{table}-{job.name}"
    outcome = launch(name, parameters)
    metrics, train = outcome.metrics, outcome.train
    entry = Entry(
        name=job.name,
        digest=job.digest(initial.weights if initial else None),
        source=parameters["data"]["source"],
        test=metrics["test"],
        validation=metrics["validation"],
        alarms=tuple(metrics["alarms"]),
        seconds=train["seconds"],
        threads=train["threads"],
        experiment=name,
        mlflow_run_id=train["mlflow_run_id"],
        weights=sha(outcome.weights),
        finished=now(),
    )
    ledger.keep(entry, outcome.weights)
    return entry


def _told(entry: Entry) -> str:
    error = entry.test.get("nme")
    return ("no labelled test images" if error is None else f"NME {error:.2f} %") + f" in {entry.seconds / 60:.1f} min"
