"""Complete a table: run what has no result yet, each row after the one it starts from, as DVC experiments."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brule import method
from brule.errors import BruleError
from brule.files import sha
from brule.stages import experiments
from brule.stages.experiments import Parameters
from brule.stages.table.plan import Job
from brule.stages.table.results import Entry, Ledger, differences, now

DETECTOR = "models/detector.safetensors"


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind."""

    commit: str
    """The commit that it started from."""
    metrics: dict[str, Any]
    """results/metrics.json."""
    train: dict[str, Any]
    """results/train.json."""
    weights: bytes
    """models/detector.safetensors."""


class FailedError(Exception):
    """A run ended with an error, or its results cannot be had. The other runs go on."""


Launch = Callable[[str, Parameters], Outcome]
"""(experiment's name, all its parameters) → what it leaves behind; raises FailedError."""


@dataclass
class Summary:
    """The runs that gave no result, each as a sentence."""

    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class Launcher:
    """`launch(name, parameters)`: one `dvc exp run --temp` beside the workspace of the project `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str, parameters: Parameters) -> Outcome:
        """Run to the end, in place of an earlier experiment of this name, with all its output. Raises FailedError."""
        head = self._out(["git", "rev-parse", "HEAD"]).decode().strip()  # a commit made in the meantime moves it on
        if status := experiments.run(self.root, name, parameters, ["--temp"], replace=True):
            raise FailedError(f"dvc exp run ended with exit status {status}; its own message is above")
        # An experiment's ref is refs/exps/<commit it started from>/<name>.
        ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
        commit = self._out(["git", "rev-parse", "--verify", ref]).decode().strip()
        return Outcome(
            commit=head,
            metrics=self._json(commit, "results/metrics.json"),
            train=self._json(commit, "results/train.json"),
            weights=self._detector(commit),
        )

    def _json(self, commit: str, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._out(["git", "show", f"{commit}:./{path}"]))
        return found

    def _detector(self, commit: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "detector.safetensors"
            get = [sys.executable, "-m", "dvc", "get", "--quiet", ".", DETECTOR, "--rev", commit, "--out", str(place)]
            self._out(get)
            return place.read_bytes()

    def _out(self, command: Sequence[str]) -> bytes:
        done = subprocess.run(command, cwd=self.root, capture_output=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["nothing"]
            raise FailedError(f"`{' '.join(command[:4])} …` said: {said[-1]}")
        return done.stdout


def complete(jobs: Sequence[Job], ledger: Ledger, table: str, launch: Launch) -> Summary:
    """Run every job that has no result yet, in order. Raises BruleError if `data.location` is needed and not given.

    A finished run is in the ledger whatever happens next. A job that fails takes down only those that start from it.
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
            print(f"{label}: {_verdict(done[job.name])}, measured before", flush=True)
        elif job.missing:
            summary.skipped.append(_missing(job, table))
        else:
            print(f"{label}: starts", flush=True)
            try:
                done[job.name] = _run(job, initial, ledger, table, launch)
            except FailedError as error:
                summary.failed.append(f"{job.name} failed: {error}")
            print(f"{label}: {_verdict(done[job.name]) if job.name in done else summary.failed[-1]}", flush=True)
    return summary


def overview(jobs: Sequence[Job], fresh: Collection[str]) -> str:
    """A line for every row: its name, how many of its runs are measured, its title."""
    lines = []
    for name in dict.fromkeys(job.row.name for job in jobs):
        own = [job for job in jobs if job.row.name == name]
        lines.append(f"{name:24} {sum(job.name in fresh for job in own)} of {len(own)} measured  {own[0].row.title}")
    return "\n".join(lines)


def _missing(job: Job, table: str) -> str:
    """Without extra images only the rows that need them are missing; without `data.location` there is no table."""
    if "data.location" in job.missing:
        raise BruleError(f"{job.name} needs data.location; give it: make {table} LOCATION=/path/to/300w")
    return f"{job.name} needs {job.missing[0]}; give it: make {table} LOCATION=… CELEBA=/path/to/img_align_celeba"


def _settled(
    job: Job, jobs: Sequence[Job], initial: Entry | None, entries: Mapping[str, Entry], ledger: Ledger
) -> bool:
    """Whether it is measured, and its detector is here or no longer needed: all jobs that start from it are settled."""
    entry = entries.get(job.name)
    if entry is None or differences(job, entry, initial.weights if initial else None):
        return False
    later = [other for other in jobs if other.initial == job.name]
    return ledger.weights(entry) is not None or all(_settled(o, jobs, entry, entries, ledger) for o in later)


def _run(job: Job, initial: Entry | None, ledger: Ledger, table: str, launch: Launch) -> Entry:
    parameters = job.parameters
    if initial is not None:
        # Named by its content, so that another start is another parameter for DVC; absolute, since it runs elsewhere.
        place = ledger.weights(initial)
        assert place is not None, "a job is settled only if its detector is here or not needed"
        parameters = experiments.merge(parameters, {"train.initial": str(place.resolve())})
    name = f"{table}-{job.name}"
    outcome = launch(name, parameters)
    metrics, train = outcome.metrics, outcome.train
    entry = Entry(
        row=job.row.name,
        run=job.index,
        version=method.VERSION,
        commit=outcome.commit,
        parameters=dict(job.counted),
        initial=initial.weights if initial else None,
        labelled=job.labelled,
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


def _verdict(entry: Entry) -> str:
    error = entry.test.get("nme")
    return ("no labelled test images" if error is None else f"NME {error:.2f} %") + f" in {entry.seconds / 60:.1f} min"
