"""What a stage tells MLflow while it runs. Metrics wait a few seconds and are written together, at next to no cost."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FLUSH_SECONDS = 5.0
_FLUSH_ROWS = 800
_BATCH_ROWS = 1000  # what MLflow accepts at once
_KEEP_ROWS = 200_000


class Run:
    """What a stage tells MLflow. Every method is harmless where `id` is None, that is without MLflow."""

    def __init__(self, client: MlflowClient | None = None, id: str | None = None, resumed: bool = False) -> None:
        self.id, self.resumed = id, resumed
        self._client = client
        self._rows: list[tuple[str, float, int, int]] = []
        self._patience = _FLUSH_SECONDS
        self._flushed = time.monotonic()
        self._warned = False

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note numbers at a step; a `/` in a name groups the charts. Written within seconds, see `flush`."""
        if self._client is None:
            return
        now = int(time.time() * 1000)
        self._rows += [(name, float(value), now, step) for name, value in values.items()]
        waited = time.monotonic() - self._flushed
        if waited >= self._patience or (len(self._rows) >= _FLUSH_ROWS and not self._warned):
            self.flush()

    def flush(self) -> None:
        """Write what was noted. Call it with every checkpoint: what a kill leaves unwritten is then computed again."""
        while self._rows:
            if not self._batch("metrics", self._rows[:_BATCH_ROWS]):
                # Kept for the next time, which comes later and later while the store stays away.
                self._patience = min(2 * self._patience, 300.0)
                del self._rows[:-_KEEP_ROWS]
                break
            del self._rows[:_BATCH_ROWS]
            self._patience = _FLUSH_SECONDS
        self._flushed = time.monotonic()

    def params(self, flat: Mapping[str, Any]) -> None:
        """Record parameters under their dotted names; skipped on a continued run, whose parameters cannot change."""
        rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in flat.items()]
        for start in range(0, 0 if self.resumed else len(rows), 100):
            self._batch("params", rows[start : start + 100])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; an existing one is replaced."""
        self._batch("tags", list(values.items()))

    def image(self, image: Path | str | npt.NDArray[Any], key: str, step: int) -> None:
        """Add a picture, file or uint8 array (H, W, 3), to the gallery `key` at a step."""

        def write(client: MlflowClient, id: str) -> None:
            pixels = np.asarray(Image.open(image).convert("RGB")) if isinstance(image, str | Path) else image
            client.log_image(id, pixels, key=key, step=step, synchronous=True)

        self.attempt(write)

    def artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Store a file, or a folder with all it holds, with the run."""
        what = "log_artifacts" if Path(path).is_dir() else "log_artifact"
        self.attempt(lambda client, id: getattr(client, what)(id, str(path), folder))

    def dataset(self, name: str, digest: str, counts: Mapping[str, Any]) -> None:
        """Say which data the run saw: a name, a digest of at most 36 characters, and the counts of its splits."""

        def write(client: MlflowClient, id: str) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            profile = json.dumps(dict(counts))
            data = Dataset(name=name, digest=digest[:36], source_type="local", source=profile, profile=profile)
            client.log_inputs(id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

        self.attempt(write)

    def address(self) -> str | None:
        """The run's page on the server that keeps it, or in an `mlflow ui` of this machine; None without MLflow."""
        found: list[str] = []

        def read(client: MlflowClient, id: str) -> None:
            server = public(client.tracking_uri) if client.tracking_uri.startswith("http") else "http://127.0.0.1:5000"
            found.append(f"{server}/#/experiments/{client.get_run(id).info.experiment_id}/runs/{id}")

        self.attempt(read)
        return found[0] if found else None

    def close(self, status: str) -> None:
        """Write the rest and end the run as FINISHED, FAILED or KILLED. A run that is simply cut off stays RUNNING."""
        self.flush()
        self.attempt(lambda client, id: client.set_terminated(id, status))

    def _batch(self, kind: str, rows: Sequence[tuple[Any, ...]]) -> bool:
        def write(client: MlflowClient, id: str) -> None:
            from mlflow.entities import Metric, Param, RunTag

            entity = {"metrics": Metric, "params": Param, "tags": RunTag}[kind]
            entities: dict[str, Any] = {kind: [entity(*row) for row in rows]}
            client.log_batch(id, **entities)

        return not rows or self.attempt(write)

    def attempt(self, call: Callable[[MlflowClient, str], object]) -> bool:
        """Ask something of the store; whether it went well. The first failure is told, in one sentence."""
        if self._client is None or self.id is None:
            return True
        try:
            call(self._client, self.id)
        except Exception as error:  # whatever ails the store, the training is worth more than its record
            if not self._warned:
                say(f"MLflow does not answer ({reason(error)}); the work goes on, and its record there may have gaps")
            self._warned = True
            return False
        return True


def reason(error: Exception) -> str:
    """The first line of an error, cut to a readable length, without passwords."""
    lines = str(error).strip().splitlines()
    return public(lines[0] if lines else type(error).__name__)[:200]


def public(text: str) -> str:
    """A text whose addresses have lost the user's name and password: http://user:word@host is http://host."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


def say(sentence: str) -> None:
    """A line for the user; standard output belongs to the stage."""
    print(f"brule: {sentence}", file=sys.stderr)
