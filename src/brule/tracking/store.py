"""Which store, which experiment, which run: open a new one or continue an old one, and say how it ended."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from brule.config import Config
from brule.errors import BruleError
from brule.files import root
from brule.tracking.run import Run, public, reason, say

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # An unreachable server is noticed in seconds; MLflow's own defaults would hold up training for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_OPENING_ATTEMPTS = 5


@contextmanager
def run(
    config: Config,
    stage: str,
    name: str | None = None,
    resume_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Open a run, or continue `resume_id`, for the body of the `with`, whose end or error becomes the run's status.

    The store is MLFLOW_TRACKING_URI or else `mlflow.db` in the project's folder. `tags` (a fingerprint, say) join those
    of DVC and git. Raises BruleError where the store cannot be opened.
    """
    if not available():
        say("MLflow is not installed; this run is not tracked (`pip install mlflow` would do it)")
        yield Run()
        return
    current = _open(config.tracking.experiment, name or os.environ.get("DVC_EXP_NAME"), resume_id, _tags(stage))
    current.tags(tags or {})
    try:
        yield current
    except BaseException as error:
        current.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    current.close("FINISHED")


def _open(experiment: str, name: str | None, resume_id: str | None, tags: Mapping[str, str]) -> Run:
    """Create or continue the run; a database that another process is creating at this moment is tried again."""
    uri = place()
    for attempt in range(_OPENING_ATTEMPTS):
        try:
            with alone(uri):
                return _connect(uri, experiment, name, resume_id, tags)
        except BruleError:
            raise
        except Exception as error:
            if attempt + 1 == _OPENING_ATTEMPTS or not uri.startswith("sqlite:"):
                raise BruleError(closed(uri, error)) from error
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError("unreachable")


def place() -> str:
    """The store's address: MLFLOW_TRACKING_URI, else the database in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root().resolve() / 'mlflow.db'}"


def available() -> bool:
    """Whether MLflow is installed. It is then imported, calls nobody, gives up soon and keeps its news to itself."""
    for variable, value in _DEFAULTS.items():
        os.environ.setdefault(variable, value)
    try:
        import mlflow  # noqa: F401
    except ImportError:
        return False
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    return True


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """One process at a time opens a database in a file, or chooses a champion in it: two that both make its tables
    leave it broken for good. A server looks after itself."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    with open(f"{uri.removeprefix('sqlite:///')}.lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # given back when the file closes, also by a kill
        yield


def _connect(uri: str, experiment: str, name: str | None, resume_id: str | None, tags: Mapping[str, str]) -> Run:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    if resume_id is not None and (continued := _continue(client, resume_id)) is not None:
        return continued
    found = client.get_experiment_by_name(experiment)
    if found is not None and found.lifecycle_stage != "active":
        raise BruleError(f"tracking.experiment: {experiment} was deleted in MLflow; restore it or set another name")
    # A server knows itself where its artifacts lie; beside a database they would land in the current folder.
    place = None if uri.startswith("http") else (root().resolve() / "mlartifacts").as_uri()
    id = found.experiment_id if found is not None else client.create_experiment(experiment, artifact_location=place)
    created = client.create_run(id, run_name=name, tags=dict(tags))
    return Run(client, created.info.run_id)


def _continue(client: MlflowClient, id: str) -> Run | None:
    """The run of that id, running again; None where this store lacks it (the results came from another machine)."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = None
    if found is None or found.info.lifecycle_stage != "active":
        say(f"MLflow has no run {id} in this store; a new one is begun")
        return None
    client.update_run(id, status="RUNNING")
    return Run(client, id, resumed=True)


def closed(uri: str, error: Exception) -> str:
    """The sentence for a store that cannot be opened."""
    return (
        f"{public(uri)}: MLflow cannot open its store ({reason(error)}); "
        "start the server, or set MLFLOW_TRACKING_URI to another store, or unset it"
    )


def _tags(stage: str) -> dict[str, str]:
    """What DVC and git know about this run."""
    tags = {"mlflow.source.name": f"brule {stage}", "mlflow.source.type": "LOCAL"}
    tags["dvc.stage"] = os.environ.get("DVC_STAGE", stage)
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = os.environ["DVC_EXP_NAME"]
    with suppress(OSError):  # no git here: no commit
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            tags["git.commit"] = tags["mlflow.source.git.commit"] = answer.stdout.strip()
    return tags
