"""Complete a table: run what has no result yet, each row after the one it starts from, and as many at once as asked."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from brule import machine, method
from brule.errors import BruleError
from brule.files import sha
from brule.stages import experiments
from brule.stages.experiments import Parameters
from brule.stages.table.launcher import FailedError, Outcome
from brule.stages.table.plan import Job
from brule.stages.table.results import Entry, Ledger, differences, now

Launch = Callable[[str, Parameters], Outcome]
"""(experiment's name, all its parameters) → what it leaves behind; raises FailedError."""


@dataclass
class Summary:
    """The runs that gave no result, each as a sentence."""

    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def complete(jobs: Sequence[Job], ledger: Ledger, table: str, launch: Launch, workers: int = 1) -> Summary:
    """Run every job that has no result yet, in order, so many at once. Raises BruleError if `data.location` is needed
    and not given.

    A finished run is in the ledger whatever happens next. A job that fails takes down only those that start from it.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        return _Completion(jobs, ledger, table, lambda *job: pool.submit(launch, *job), workers).run()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after a Ctrl-C, whoever made `launch` stops what still runs


class _Completion:
    """Which jobs are still to do, which run, and what has come of the others. One thread alone decides and writes."""

    def __init__(
        self,
        jobs: Sequence[Job],
        ledger: Ledger,
        table: str,
        submit: Callable[[str, Parameters], Future[Outcome]],
        workers: int,
    ) -> None:
        self.jobs, self.ledger, self.table, self.submit, self.workers = jobs, ledger, table, submit, workers
        self.entries = ledger.entries()  # once: DVC puts the tracked files aside while a run starts
        self.summary, self.done = Summary(), dict[str, Entry]()
        self.todo, self.running = list(jobs), dict[Future[Outcome], Job]()

    def run(self) -> Summary:
        while True:
            for job in self._ready():
                self.todo.remove(job)
                self._begin(job)
            if not self.running:
                return self.summary
            for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                self._end(self.running.pop(future), future)

    def _ready(self) -> Iterator[Job]:
        """Those whose start is decided, while a worker is free."""
        for job in list(self.todo):
            if len(self.running) == self.workers:
                return
            if job.initial not in {other.name for other in (*self.todo, *self.running.values())}:
                yield job

    def _begin(self, job: Job) -> None:
        if job.initial is not None and job.initial not in self.done:
            self.summary.skipped.append(f"{job.name} starts from {job.initial}, which has no result")
            return
        initial = self.done[job.initial] if job.initial is not None else None
        if _settled(job, self.jobs, initial, self.entries, self.ledger):
            self.done[job.name] = self.entries[job.name]
            self._say(job, f"{_verdict(self.done[job.name])}, measured before")
        elif job.missing:
            self.summary.skipped.append(_missing(job, self.table))
        elif job.parameters["machine"]["device"].startswith("cuda") and not machine.gpus():
            self.summary.skipped.append(f"{job.name} needs a GPU, and torch finds none here")
        else:
            self._say(job, "starts")
            parameters = _parameters(job, initial, self.ledger)
            self.running[self.submit(f"{self.table}-{job.name}", parameters)] = job

    def _end(self, job: Job, future: Future[Outcome]) -> None:
        try:
            entry = _entry(job, future.result(), self.done.get(job.initial or ""), f"{self.table}-{job.name}")
        except FailedError as error:
            self.summary.failed.append(f"{job.name} failed: {error}")
            self._say(job, self.summary.failed[-1])
            return
        self.ledger.keep(entry, future.result().weights)
        self.entries[job.name] = self.done[job.name] = entry
        self._say(job, _verdict(entry))

    def _say(self, job: Job, text: str) -> None:
        number = self.jobs.index(job) + 1
        label = f"[{number}/{len(self.jobs)}] {job.row.name}, run {job.index + 1} of {len(job.row.runs)}"
        print(f"{label}: {text}\n", end="", flush=True)


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


def _parameters(job: Job, initial: Entry | None, ledger: Ledger) -> Parameters:
    """The job's own, and the detector that it starts from."""
    if initial is None:
        return job.parameters
    # Named by its content, so that another start is another parameter for DVC; absolute, since it runs elsewhere.
    place = ledger.weights(initial)
    assert place is not None, "a job is settled only if its detector is here or not needed"
    return experiments.merge(job.parameters, {"train.initial": str(place.resolve())})


def _entry(job: Job, outcome: Outcome, initial: Entry | None, experiment: str) -> Entry:
    metrics, train = outcome.metrics, outcome.train
    return Entry(
        row=job.row.name,
        run=job.index,
        version=method.VERSION,
        commit=outcome.commit,
        parameters=dict(job.counted),
        initial=initial.weights if initial else None,
        labelled=job.labelled,
        source=job.parameters["data"]["source"],
        test=metrics["test"],
        validation=metrics["validation"],
        alarms=tuple(metrics["alarms"]),
        seconds=train["seconds"],
        threads=train["threads"],
        experiment=experiment,
        mlflow_run_id=train["mlflow_run_id"],
        weights=sha(outcome.weights),
        finished=now(),
    )


def _verdict(entry: Entry) -> str:
    error = entry.test.get("nme")
    return ("no labelled test images" if error is None else f"NME {error:.2f} %") + f" in {entry.seconds / 60:.1f} min"
