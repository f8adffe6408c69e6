"""What has been measured, kept so that neither a kill nor a second process beside this one can lose a finished run.

Every run has a file of its own under models/<table>/, which git ignores, written the moment the run ends; the detector
lies beside it under the name of its content. results/<table>.json is all of them together, to be committed: it is
written when a table is done, not in between, since `dvc exp run` stashes and restores tracked files while it starts.
"""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from brule.config.schema import Section
from brule.errors import BruleError
from brule.files import write_bytes, write_json
from brule.identity import sha


class Entry(Section):
    """A finished run."""

    name: str
    """<row>-<index>."""
    digest: str
    """Of parameters, code and initial weights; see `Job.digest`."""
    source: str
    """data.source, whose test split it was measured on."""
    test: dict[str, Any]
    validation: dict[str, Any]
    """Scores of the splits as in results/metrics.json."""
    alarms: tuple[str, ...] = ()
    """What the collapse monitors said."""
    seconds: float
    """Of training."""
    threads: int
    experiment: str
    """The DVC experiment; see `dvc exp show`."""
    mlflow_run_id: str | None = None
    weights: str
    """Digest of the detector's file, 16 digits."""
    finished: float
    """Seconds since 1970."""


class Ledger:
    """The finished runs of one table, {name: entry}; of two with one name the later counts."""

    def __init__(self, root: Path, table: str) -> None:
        self.folder = root / "models" / table
        self.file = root / "results" / f"{table}.json"

    def entries(self) -> dict[str, Entry]:
        """All runs known here. Raises BruleError naming a file that cannot be read."""
        found = list(self._published())
        found += [_entry(_json(path), path) for path in sorted(self.folder.glob("*.json"))]
        return {entry.name: entry for entry in sorted(found, key=lambda entry: (entry.name, entry.finished))}

    def keep(self, entry: Entry, weights: bytes | None = None) -> None:
        """Remember a run, and its detector where that is at hand."""
        if weights is not None:
            write_bytes(self.folder / f"{entry.weights}.safetensors", weights)
        write_json(self.folder / f"{entry.name}.json", entry.model_dump(mode="json"))

    def weights(self, entry: Entry) -> Path | None:
        """The run's detector; None where it is not here, or is another: a clone brings the numbers alone."""
        path = self.folder / f"{entry.weights}.safetensors"
        return path if path.is_file() and sha(path.read_bytes()) == entry.weights else None

    def publish(self) -> dict[str, Entry]:
        """Bring results/<table>.json up to date with every run known here; returns them. To be called `alone`."""
        entries = self.entries()
        write_json(self.file, {"runs": [entry.model_dump(mode="json") for entry in entries.values()]})
        return entries

    def _published(self) -> Iterator[Entry]:
        if self.file.exists():
            raw = _json(self.file)
            if not isinstance(raw, dict) or not isinstance(raw.get("runs"), list):
                raise BruleError(f"{self.file}: holds no list of runs; restore it with git checkout")
            yield from (_entry(run, self.file) for run in raw["runs"])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time publishes: the slower of two must not write what it read before the other wrote."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # given back when the file closes, also by a kill
            yield


def now() -> float:
    """The time, for `Entry.finished`."""
    return round(time.time(), 1)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BruleError(f"{path}: cannot be read; delete it, or restore it with git checkout") from None


def _entry(raw: Any, path: Path) -> Entry:
    try:
        return Entry.model_validate(raw)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BruleError(f"{path}: {key or 'a run'} is missing or wrong; delete it and run the table again") from None
