"""What MLflow has of runs that ended: their numbers, the course of a metric, their pictures. Nothing is written."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from brule.errors import BruleError
from brule.tracking.store import available, closed, missing, opened, place

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Past:
    """A finished run."""

    id: str
    name: str
    """That of its DVC experiment, or else the one in MLflow."""
    finished: float = 0.0
    """Seconds since 1970."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each."""


class Store:
    """A place where runs are kept."""

    def __init__(self, client: MlflowClient, place: str) -> None:
        self._client, self.place = client, place

    def finished(self) -> list[Past]:
        """Every run that ended without an error, of all experiments, the newest first."""
        how: dict[str, Any] = {"filter_string": "status = 'FINISHED'", "order_by": ["attributes.end_time DESC"]}
        with _answering(self.place):
            how["experiment_ids"] = [found.experiment_id for found in self._client.search_experiments()]
            page = self._client.search_runs(**how)
            runs = list(page)
            while page.token:
                page = self._client.search_runs(**how, page_token=page.token)
                runs += page
        return [_past(run) for run in runs]

    def course(self, run: Past, metric: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(steps, values) of a metric, sorted by step. Of a step that a resumed run logged twice, the last value."""
        with _answering(self.place):
            logged = sorted(self._client.get_metric_history(run.id, metric), key=lambda row: (row.step, row.timestamp))
        last = {row.step: row.value for row in logged}
        return np.array(list(last), np.int64), np.array(list(last.values()), np.float64)

    def pictures(self, run: Past, key: str) -> dict[int, npt.NDArray[np.uint8]]:
        """{step: (H, W, 3)} of a gallery that `Run.image` filled."""
        name = re.compile(rf"images/{re.escape(key)}[+%]step[+%](\d+)[+%]timestamp[+%](\d+)[+%][^+%]*\.png")
        with _answering(self.place), tempfile.TemporaryDirectory() as folder:
            listed = [name.match(file.path) for file in self._client.list_artifacts(run.id, "images")]
            found = sorted((match for match in listed if match), key=lambda match: int(match[2]))
            last = {int(match[1]): match[0] for match in found}
            files = {step: self._client.download_artifacts(run.id, last[step], folder) for step in sorted(last)}
            return {
                step: np.asarray(Image.open(Path(file), formats=["PNG"]).convert("RGB")) for step, file in files.items()
            }


def read() -> Store:
    """The store that training writes to. Raises BruleError if there is none yet, or if it cannot be opened."""
    uri = place()
    if not available():
        raise BruleError("MLflow is not installed, so there are no runs to read; pip install mlflow")
    if missing(uri):
        raise BruleError(f"{uri}: no run has been tracked here yet; train one, or set MLFLOW_TRACKING_URI")
    from mlflow import MlflowClient

    with _answering(uri), opened(uri):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # creating a client alone does not connect
    return Store(client, uri)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the store's trouble
        raise BruleError(closed(uri, error)) from error


def _past(run: Any) -> Past:
    tags = dict(run.data.tags)
    name = tags.get("dvc.experiment") or run.info.run_name or run.info.run_id
    return Past(run.info.run_id, name, run.info.end_time / 1000, dict(run.data.params), tags, dict(run.data.metrics))
