"""The MLflow run of a stage: what the stage logs while it works, and how the run is begun, continued and ended.

Metrics wait a few seconds and are then written together, which costs next to nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from brule.config import Config
from brule.errors import BruleError, public
from brule.terminal import SHOWN
from brule.tracking import database
from brule.tracking.store import available, closed, opened, own, place, reason, say

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FLUSH_SECONDS = 5.0
_FLUSH_ROWS = 800
_BATCH_ROWS = 1000  # what MLflow accepts at once
_KEEP_ROWS = 200_000
FIRST = {
    "validation/nme": "error NME",
    "validation/w1": "error W1",
    "encoder/total": "loss total",
    **{name: f"loss {name.partition('/')[2]}" for name in SHOWN},
}
"""Column of the history → its chart among the first of the run's page."""
RECIPE = (Path("params.yaml"), Path("dvc.lock"))
"""What it takes to repeat a run, from the working directory: `dvc exp run --temp` works in a copy of the project."""


class Run:
    """What a stage logs. Without MLflow `id` is None and every method does nothing."""

    def __init__(self, client: MlflowClient | None = None, id: str | None = None, resumed: bool = False) -> None:
        self.id, self.resumed = id, resumed
        self._client = client
        self._rows: list[tuple[str, float, int, int]] = []
        self._patience = _FLUSH_SECONDS
        self._flushed = time.monotonic()
        self._warned = False

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step; a `/` in a name groups the charts. They are written within seconds, see `flush`."""
        if self._client is None:
            return
        now = int(time.time() * 1000)
        self._rows += [(name, float(value), now, step) for name, value in values.items()]
        waited = time.monotonic() - self._flushed
        if waited >= self._patience or (len(self._rows) >= _FLUSH_ROWS and not self._warned):
            self.flush()

    def history(self, row: Mapping[str, Any]) -> None:
        """Log a row of results/history.csv.

        MLflow's page orders groups of charts, and the charts in a group, by their names alone. So what one looks at
        first is logged a second time, in a group that comes first: `course`.
        """
        numbers = {name: value for name, value in row.items() if isinstance(value, float)}
        first = {f"course/{chart}": numbers[name] for name, chart in FIRST.items() if name in numbers}
        self.metrics(numbers | first, int(row["iteration"]))

    def flush(self) -> None:
        """Write what is waiting. Call it with every checkpoint: what a kill leaves unwritten is then computed again."""
        while self._rows:
            if not self._batch("metrics", self._rows[:_BATCH_ROWS]):
                # Kept for the next attempt. While the store stays away, attempts become rarer.
                self._patience = min(2 * self._patience, 300.0)
                del self._rows[:-_KEEP_ROWS]
                break
            del self._rows[:_BATCH_ROWS]
            self._patience = _FLUSH_SECONDS
        self._flushed = time.monotonic()

    def params(self, flat: Mapping[str, Any]) -> None:
        """Log parameters under their dotted names. A continued run keeps those it has, since they cannot change."""
        rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in flat.items()]
        for start in range(0, 0 if self.resumed else len(rows), 100):
            self._batch("params", rows[start : start + 100])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; one that exists is replaced."""
        self._batch("tags", list(values.items()))

    def image(self, image: Path | str | npt.NDArray[Any], key: str, step: int) -> None:
        """Add a picture, a file or a uint8 array (H, W, 3), to the gallery `key` at a step."""

        def write(client: MlflowClient, id: str) -> None:
            pixels = (
                np.asarray(Image.open(image, formats=["PNG"]).convert("RGB"))
                if isinstance(image, str | Path)
                else image
            )
            client.log_image(id, pixels, key=key, step=step, synchronous=True)

        self.attempt(write)

    def artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Store a file, or a folder with all its files, with the run."""
        what = "log_artifacts" if Path(path).is_dir() else "log_artifact"
        self.attempt(lambda client, id: getattr(client, what)(id, str(path), folder))

    def text(self, text: str, name: str) -> None:
        """Store a text as a file of that name with the run."""
        self.attempt(lambda client, id: client.log_text(id, text, name))

    def dataset(self, name: str, digest: str, counts: Mapping[str, Any]) -> None:
        """Log which data the run saw: a name, a digest of at most 36 characters, and the counts of its splits."""

        def write(client: MlflowClient, id: str) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            profile = json.dumps(dict(counts))
            data = Dataset(name=name, digest=digest[:36], source_type="local", source=profile, profile=profile)
            client.log_inputs(id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

        self.attempt(write)

    def address(self) -> str | None:
        """The run's page on the server that keeps it, or in an `mlflow ui` on this machine; None without MLflow."""
        found: list[str] = []

        def read(client: MlflowClient, id: str) -> None:
            server = public(client.tracking_uri) if client.tracking_uri.startswith("http") else "http://127.0.0.1:5000"
            found.append(f"{server}/#/experiments/{client.get_run(id).info.experiment_id}/runs/{id}")

        self.attempt(read)
        return found[0] if found else None

    def close(self, status: str) -> None:
        """Write the rest and end the run as FINISHED, FAILED or KILLED. A run that is cut off stays RUNNING."""
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
        """Make this call to the store; returns whether it succeeded. The first failure is reported in one sentence."""
        if self._client is None or self.id is None:
            return True
        try:
            call(self._client, self.id)
        except Exception as error:  # whatever the store's trouble, the training is worth more than its record
            if not self._warned:
                say(f"MLflow does not answer ({reason(error)}); the work goes on, and its record there may have gaps")
            self._warned = True
            return False
        return True


@contextmanager
def run(
    config: Config,
    stage: str,
    name: str | None = None,
    resume_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Open a run, or continue `resume_id`, for the body of the `with`, whose end or error becomes the run's status.

    Where the store has no such run, that of the same weights is continued, if `tags` name them as `weights`.
    The store is MLFLOW_TRACKING_URI, or else `mlflow.db` in the project's folder. `tags` are added to those of DVC and
    git, and RECIPE is kept with the run. Where the store cannot be opened, a sentence says so, and nothing is tracked.
    """
    if not available():
        say("MLflow is not installed, so this run is not tracked; `pip install mlflow` changes that")
        yield Run()
        return
    tags = dict(tags or {})
    current = _open(config.tracking.experiment, name or os.environ.get("DVC_EXP_NAME"), resume_id, _tags(stage) | tags)
    if current.resumed:
        current.tags(tags)
    for path in RECIPE:
        if path.is_file():
            current.text(public(path.read_text(encoding="utf-8")), path.name)
    try:
        yield current
    except BaseException as error:
        current.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    current.close("FINISHED")


def title(source: str, image_size: int) -> str:
    """The name of a run of this project: `default · synthetic · 64 px`, or that of its DVC experiment in front."""
    return f"{os.environ.get('DVC_EXP_NAME') or 'default'} · {source} · {image_size} px"


def _open(experiment: str, name: str | None, resume_id: str | None, tags: Mapping[str, str]) -> Run:
    """Create or continue the run. Without a store the work goes on all the same: it is worth more than its record."""
    uri = place()
    try:
        with opened(uri):
            return _connect(uri, experiment, name, resume_id, tags)
    except BruleError as error:
        trouble = str(error)
    except Exception as error:  # whatever the store's trouble
        trouble = closed(uri, error)
    say(f"{trouble}. This run is not tracked; the work goes on")
    return Run()


def _connect(uri: str, experiment: str, name: str | None, resume_id: str | None, tags: Mapping[str, str]) -> Run:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    if resume_id is not None and (continued := _continue(client, resume_id)) is not None:
        return continued
    found = client.get_experiment_by_name(experiment)
    if found is not None and found.lifecycle_stage != "active":
        raise BruleError(f"tracking.experiment: {experiment} was deleted in MLflow; restore it, or set another name")
    if found is not None and (same := _same_weights(client, found.experiment_id, tags)) is not None:
        return same
    if resume_id is not None:
        say(f"this MLflow store has no run {resume_id}; a new one is started")
    # A server knows where its artifacts belong. With a database they would land in the current folder.
    location = None if uri.startswith("http") else database.artifacts(own())
    id = found.experiment_id if found is not None else client.create_experiment(experiment, artifact_location=location)
    created = client.create_run(id, run_name=name, tags=dict(tags))
    return Run(client, created.info.run_id)


def _continue(client: MlflowClient, id: str) -> Run | None:
    """The run of that id, set running again; None if this store has none (the results came from another machine)."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = None
    if found is None or found.info.lifecycle_stage != "active":
        return None
    client.update_run(id, status="RUNNING")
    return Run(client, id, resumed=True)


def _same_weights(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> Run | None:
    """The last run whose detector has these weights, set running again: it began here when they were pulled."""
    if "weights" not in tags:
        return None
    wanted = f"tags.weights = '{tags['weights']}'"
    found = client.search_runs([experiment], wanted, order_by=["attributes.start_time DESC"], max_results=1)
    return _continue(client, found[0].info.run_id) if found else None


def _tags(stage: str) -> dict[str, str]:
    """What DVC and git know about this run."""
    tags = {"mlflow.source.name": f"brule {stage}", "mlflow.source.type": "LOCAL"}
    tags["dvc.stage"] = os.environ.get("DVC_STAGE", stage)
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = os.environ["DVC_EXP_NAME"]
    with suppress(OSError):  # without git there is no commit
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            tags["git.commit"] = tags["mlflow.source.git.commit"] = answer.stdout.strip()
    return tags
