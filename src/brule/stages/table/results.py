"""What has been measured, where it is kept, and which of it is still the result of a row of the table.

A finished run is written at once to a file of its own in models/<table>/, which git ignores, so that neither a kill nor
a second process can lose it. Its detector lies beside it, named by its content. results/<table>.json holds all runs
together and is committed. It is written when a table is done and not in between, since `dvc exp run` stashes and
restores tracked files while it starts. A run of the same parameters that only MLflow knows is taken over.
"""

import fcntl
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError

from brule import method
from brule.config import Section
from brule.documents import parse_json, read_text
from brule.errors import BruleError
from brule.files import sha, write_bytes, write_json, write_text
from brule.stages.table.plan import REQUIRED, Job, counted, off
from brule.tracking import past
from brule.tracking.past import Past


def _rounded(scores: dict[str, Any]) -> dict[str, Any]:
    """Six significant digits: four more than any table prints."""
    inner = {name: _rounded(value) for name, value in scores.items() if isinstance(value, dict)}
    return {
        n: inner.get(n, float(f"{value:.6g}") if isinstance(value, float) else value) for n, value in scores.items()
    }


Scores = Annotated[dict[str, Any], AfterValidator(_rounded)]


class Entry(Section):
    """A finished run of a row."""

    row: str
    run: int
    """Which of the row's runs, from 0."""
    version: int
    """`brule.method.VERSION` at the time."""
    commit: str = ""
    """The commit that it started from; empty where git does not know."""
    parameters: dict[str, Any]
    """{dotted name: value}: those that count, see `counted`."""
    initial: str | None = None
    """Digest of the detector that it started from."""
    labelled: str | None = None
    """Digest of the names in its list of labelled images."""
    source: str
    """`data.source`; it was measured on the test split of this source."""
    test: Scores
    validation: Scores
    """Scores of the two splits, as in results/metrics.json."""
    alarms: tuple[str, ...] = ()
    """What the collapse monitors said."""
    seconds: float
    """Of training."""
    threads: int
    experiment: str
    """The DVC experiment; see `dvc exp show`."""
    mlflow_run_id: str | None = None
    weights: str
    """Digest of the detector's file, see `files.sha`."""
    finished: float
    """Seconds since 1970."""

    @property
    def name(self) -> str:
        """The name of the job that it is a result of."""
        return f"{self.row}-{self.run}"


class Ledger:
    """The finished runs of one table. If two have the same name, the one that finished later counts."""

    def __init__(self, root: Path, table: str) -> None:
        self.folder = root / "models" / table
        self.file = root / "results" / f"{table}.json"

    def entries(self) -> dict[str, Entry]:
        """{name: entry} of all runs known here. Raises BruleError naming a file that cannot be read."""
        found = list(self._published())
        found += [_entry(_json(path), path) for path in sorted(self.folder.glob("*.json"))]
        return {entry.name: entry for entry in sorted(found, key=lambda entry: (entry.name, entry.finished))}

    def keep(self, entry: Entry, weights: bytes | None = None) -> None:
        """Remember a run, and its detector if that is at hand."""
        if weights is not None:
            write_bytes(self.folder / f"{entry.weights}.safetensors", weights)
        write_json(self.folder / f"{entry.name}.json", entry.model_dump(mode="json"))

    def weights(self, entry: Entry) -> Path | None:
        """The run's detector; None if it is not here (a clone brings the numbers alone) or has been changed."""
        path = self.folder / f"{entry.weights}.safetensors"
        return path if path.is_file() and sha(path.read_bytes()) == entry.weights else None

    def publish(self) -> dict[str, Entry]:
        """Write every run known here to results/<table>.json and return them. Call it inside `alone`."""
        entries = self.entries()
        write_text(self.file, text(list(entries.values())))
        return entries

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one process publishes at a time: a slow one must not write what it read before another one wrote."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # released when the file closes, also by a kill
            yield

    def _published(self) -> Iterator[Entry]:
        if not self.file.exists():
            return
        raw = _json(self.file)
        base, runs = (raw.get("base"), raw.get("runs")) if isinstance(raw, dict) else (None, None)
        if not isinstance(base, dict) or not isinstance(runs, list):
            raise BruleError(f"{self.file}: has no base or no list of runs; restore it with git checkout")
        for run in runs:
            if isinstance(run, dict) and isinstance(own := run.get("parameters"), dict):
                every = {key: value for key, value in (base | own).items() if value is not None}
                run = run | {"parameters": every}
            yield _entry(run, self.file)


def current(jobs: Sequence[Job], entries: Mapping[str, Entry]) -> set[str]:
    """The names of the jobs whose entry is still their result. A job comes after the one it starts from."""
    found: set[str] = set()
    for job in jobs:
        entry = entries.get(job.name)
        if entry is not None and (job.initial is None or job.initial in found):
            found |= set() if differences(job, entry, start(job, entries)) else {job.name}
    return found


def start(job: Job, entries: Mapping[str, Entry]) -> str | None:
    """Digest of the detector that this job starts from; None where it starts from random weights."""
    return None if job.initial is None else entries[job.initial].weights


OF_THE_GAN = re.compile(
    r"model\.(gan|style)\..+|model\.condition_sigma"
    r"|loss\.(c1|c2|c3|lambda|styles|mismatch|c8|c9|c10|c10_entropy|cycle|decorrelation)"
    r"|train\.(gan_.+|adversarial_every|r1_every|restore_every|ramp)"
    r"|optimiser\.((generator|discriminator|style)_.+|momentum)"
)
"""The parameters that decide nothing where no stage trains the GAN."""


def _trains_gan(parameters: Mapping[str, Any]) -> bool:
    turns = [name for name, value in parameters.items() if name.endswith(".gan_every") and value]
    return any(parameters.get(f"{name.rpartition('.')[0]}.iterations") for name in turns)


def differences(job: Job, entry: Entry, initial: str | None) -> list[str]:
    """Why the entry is not the result of this job, started from the detector of digest `initial`; empty if it is.

    Each is a parameter's name, or one of `version`, `initial` and `labelled` (the lists differ under the same name). A
    parameter counts where both know it, and a switch also where only one of them has it on. So a new switch that is
    off, or a new parameter without an off state, makes no result stale. Nor does a stage without iterations, or what
    belongs to the GAN where none is trained.
    """
    own, other = job.counted, entry.parameters
    gan = _trains_gan(own) or _trains_gan(other)
    found = [] if entry.version == method.VERSION else ["version"]
    found += [] if entry.initial == initial else ["initial"]
    found += ["labelled"] if job.labelled and entry.labelled and job.labelled != entry.labelled else []
    for key in sorted({*own, *other}):
        section, _, name = key.partition(".")
        runs = f"stages.{name.partition('.')[0]}.iterations"
        if section == "stages" and runs not in own and runs not in other:
            continue  # neither runs this stage
        if not gan and OF_THE_GAN.fullmatch(key):
            continue
        if key in own and key in other:
            found += [key] if own[key] != other[key] else []
        elif off(key) is not REQUIRED:
            found.append(key)
    return found


def take(jobs: Sequence[Job], ledger: Ledger) -> list[str]:
    """`collect` from the store that training writes to. If there is no store, one sentence says so."""
    try:
        runs = past.read().finished()
    except BruleError as error:
        return [f"nothing is taken from MLflow: {error}"]
    return collect(jobs, ledger, runs)


def collect(jobs: Sequence[Job], ledger: Ledger, runs: Iterable[Past]) -> list[str]:
    """For every job without a result, take over the newest of these runs (newest first) that is one; in sentences.

    Such a run has the job's parameters, this version of the method, and started from the weights that the job starts
    from here. Its numbers are taken, its detector stays where it is. An entry of the ledger that finished later stays.
    """
    entries, sentences = ledger.entries(), list[str]()
    measured = [(run, _taken(run)) for run in runs if _measured(run)]
    fresh: set[str] = set()
    for job in jobs:
        if job.initial is not None and job.initial not in fresh:
            continue
        initial, known = start(job, entries), entries.get(job.name)
        if known is None or differences(job, known, initial):
            for run, entry in measured:
                if not differences(job, entry, initial) and (known is None or run.finished > known.finished):
                    entries[job.name] = entry.model_copy(update={"row": job.row.name, "run": job.index})
                    ledger.keep(entries[job.name])
                    sentences.append(f"{job.name}: measured as run {run.id} of MLflow ({run.name})")
                    break
            else:
                continue
        fresh.add(job.name)
    return sentences


def text(entries: Sequence[Entry]) -> str:
    """results/<table>.json: one line a parameter and one line a run, so a change of either is one line in git."""
    base = _usual([entry.parameters for entry in entries])
    runs = [entry.model_dump(mode="json") for entry in entries]
    runs = [run | {"parameters": _difference(base, run["parameters"])} for run in runs]
    shared = ",\n".join(f"{json.dumps(key)}: {_line(value)}" for key, value in base.items())
    return "\n".join(['{"base": {', shared, '}, "runs": [', ",\n".join(map(_line, runs)), "]}"]) + "\n"


def now() -> float:
    """The time, for `Entry.finished`."""
    return round(time.time(), 1)


def _usual(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For every parameter the value that most of these runs have; None if most do not have it."""
    keys = sorted({key for parameters in every for key in parameters})
    texts = {key: Counter(json.dumps(parameters.get(key)) for parameters in every) for key in keys}
    return {key: json.loads(count.most_common(1)[0][0]) for key, count in texts.items()}


def _difference(base: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Only what differs from the base; None: not among these parameters."""
    return {key: parameters.get(key) for key in base if parameters.get(key) != base[key]}


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _json(path: Path) -> Any:
    try:
        return parse_json(read_text(path), path)
    except BruleError:
        raise BruleError(f"{path}: cannot be read; delete it, or restore it with git checkout") from None


def _entry(raw: Any, path: Path) -> Entry:
    try:
        return Entry.model_validate(raw)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BruleError(f"{path}: {key or 'a run'} is missing or wrong; delete it and run the table again") from None


def _measured(run: Past) -> bool:
    """Whether this run was trained by `train` and measured by `evaluate`."""
    return (
        {"version", "weights", "alarms"} <= set(run.tags)
        and run.tags["version"].isdecimal()
        and "data.source" in run.params
        and {"test/images", "final/seconds", "final/threads"} <= set(run.metrics)
    )


def _taken(run: Past) -> Entry:
    """This run of MLflow as an entry, for a row that is still to be found."""
    return Entry(
        row="",
        run=0,
        version=int(run.tags["version"]),
        commit=run.tags.get("git.commit", ""),
        parameters=counted({key: _value(text) for key, text in run.params.items()}),
        initial=run.tags.get("initial"),
        labelled=run.tags.get("labelled"),
        source=run.params["data.source"],
        test=_scores(run.metrics, "test/"),
        validation=_scores(run.metrics, "evaluation/validation/"),
        alarms=tuple(json.loads(run.tags["alarms"])),
        seconds=run.metrics["final/seconds"],
        threads=int(run.metrics["final/threads"]),
        experiment=run.name,
        mlflow_run_id=run.id,
        weights=run.tags["weights"],
        finished=run.finished,
    )


def _value(text: str) -> Any:
    """A parameter as `tracking.Run.params` wrote it: words as they are, everything else as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _scores(metrics: Mapping[str, float], prefix: str) -> dict[str, Any]:
    """The inverse of what `evaluate` logs for one split: `test/parts/jaw` goes back into `parts`."""
    scores: dict[str, Any] = {}
    for name, value in metrics.items():
        if name.startswith(prefix):
            *above, last = name.removeprefix(prefix).split("/")
            inner = scores.setdefault(above[0], {}) if above else scores
            inner[last] = int(value) if last == "images" else value
    return scores
