"""Where the runs are kept: the store's address, how it is opened, and the sentences about its troubles."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from brule.errors import public
from brule.files import root
from brule.tracking import database

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # An unreachable server is noticed in seconds; MLflow's own defaults would hold up training for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_SQLITE = "sqlite:///"
_MENDS = {
    "not a database|malformed": "move it away, and the next run makes a new one",
    "is full|No space left|quota|disk I/O error": "free some space",
    "readonly|Read-only|Permission denied|not permitted|unable to open": "let it and its folder be read and written",
    "is locked": "end the process that holds it",
    "out-of-date database schema": "run `mlflow db upgrade {uri}`, which keeps its runs",
}
"""What an error of a database says → what to do about it."""


def place() -> str:
    """The store's address: MLFLOW_TRACKING_URI, else the database in the project's folder.

    A relative path is one from there, too: where DVC runs a stage in a temporary folder, a store would go with it.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{own()}"
    relative = re.fullmatch(
        rf"({_SQLITE}|file:|)(?!/|databricks)([^:]+)", given
    )  # databricks: MLflow's word for a server
    return f"{relative[1]}{root().resolve() / relative[2]}" if relative else given


def own() -> Path:
    """The project's own database, which is there unless all runs went to another store."""
    return root().resolve() / "mlflow.db"


def missing(uri: str) -> bool:
    """Whether the store is a database that nobody has made yet."""
    return uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).exists()


def available() -> bool:
    """Whether MLflow is installed. If so it is set up: no telemetry, short waits, and no log messages.

    Its errors are raised as well, and then told in a sentence.
    """
    for variable, value in _DEFAULTS.items():
        os.environ.setdefault(variable, value)
    try:
        import mlflow  # noqa: F401
    except ImportError:
        return False
    for logger in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return True


@contextmanager
def opened(uri: str) -> Iterator[None]:
    """Be alone in a store that is ready for MLflow. What had to be mended in the project's own is told."""
    with alone(uri):
        if uri == f"{_SQLITE}{own()}":
            for sentence in database.ready(own()):
                say(sentence)
        yield


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Let only one process at a time open a database file or choose a champion in it.

    Two that create its tables at once leave it broken for good. A server takes care of this itself.
    """
    with ExitStack() as stack:
        if uri.startswith(_SQLITE):
            try:
                lock = stack.enter_context(open(f"{uri.removeprefix(_SQLITE)}.lock", "w", encoding="utf-8"))
                fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes, also by a kill
            except OSError as error:  # where nobody can write, nobody needs to wait
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
        yield


def reason(error: Exception) -> str:
    """The line of an error that names its cause, cut to a readable length, without passwords."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("(raised as a result of")]
    cause = re.sub(r"^\(sqlite3\.\w+\) ", "", lines[0] if lines else type(error).__name__)
    return public(cause)[:200]


def say(sentence: str) -> None:
    """Print a line for the user to standard error; standard output belongs to the stage."""
    print(f"brule: {sentence}", file=sys.stderr)


def closed(uri: str, error: Exception) -> str:
    """The sentence for a store that cannot be opened."""
    mends = (mend for said, mend in _MENDS.items() if re.search(said, str(error)))
    mend = next(mends, "start the server, or set MLFLOW_TRACKING_URI to another store, or unset it")
    return f"{public(uri)}: MLflow cannot open its store ({reason(error)}); {mend.format(uri=public(uri))}"
