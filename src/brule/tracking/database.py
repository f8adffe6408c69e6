"""The project's own mlflow.db as a file: it is made whole or not at all, and it moves and is copied with its project.

MLflow has no public way to change where artifacts lie, so the SQL on its tables stands here, and nowhere else.
`tests/tracked/test_database.py` fails if a new MLflow keeps a location in a column that is not listed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

from brule.files import synchronise

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The columns of MLflow's tables that say where artifacts lie."""
_ARTIFACTS = "mlartifacts"
_PATIENCE = 20.0  # seconds for which another process may hold the database
_QUIET = 5.0  # seconds after which nobody is making its tables any more


def artifacts(database: Path) -> str:
    """Where new experiments keep their artifacts: beside the database."""
    return f"{database.parent.as_uri()}/{_ARTIFACTS}"


def ready(database: Path) -> Iterator[str]:
    """Make the database if it is missing or was never finished, and follow the project to where it is now.

    Yields a sentence for each thing that a user should know. Only one process at a time may do this.
    """
    if database.exists() and _abandoned(database):
        aside = database.with_name(f"{database.name}.half-made")
        os.replace(database, aside)
        yield f"{database} was never finished and holds no run; it is now {aside.name}, and a new one is made"
    if not database.exists():
        _make(database)
    for former, changed in _follow(database).items():
        yield f"{database} was in {former} before; {changed} places of artifacts in it now point to {database.parent}"


def _abandoned(database: Path) -> bool:
    """Whether the making of its tables was cut off. `mlflow ui` may be at it at this moment: then wait."""
    while unfinished := _unfinished(database):
        if not 0 <= time.time() - database.stat().st_mtime < _QUIET:
            break
        time.sleep(0.2)
    return unfinished


def _unfinished(database: Path) -> bool:
    """MLflow writes its Default experiment last, and without an experiment there is no run."""
    with _opened(database) as tables:
        named = {name for (name,) in tables.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return "experiments" not in named or tables.execute("SELECT 1 FROM experiments").fetchone() is None


def _make(database: Path) -> None:
    """Let MLflow make its tables in a folder of their own, then put the whole at its place."""
    from mlflow import MlflowClient

    prefix = f"{database.name}.making-"
    for left_over in database.parent.glob(f"{prefix}*"):  # by a kill
        shutil.rmtree(left_over, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=database.parent) as folder:
        made, whole = Path(folder) / "made.db", Path(folder) / "whole.db"
        MlflowClient(f"sqlite:///{made}").search_experiments(max_results=1)
        # A copy, since MLflow keeps the first one open.
        with _opened(made) as source, _opened(whole) as copy:
            source.backup(copy)
        synchronise(whole)
        os.replace(whole, database)
        synchronise(database.parent)


def _follow(database: Path) -> dict[Path, int]:
    """{former folder of the project: how many locations below it now lie below the database's}."""
    home, found = database.parent, dict[Path, int]()
    with _opened(database) as tables:
        places = [place for (place,) in tables.execute("SELECT artifact_location FROM experiments")]
        for place in places:
            former = _former(str(place), home)
            if former is not None and former not in found:
                pairs = ((former.as_uri(), home.as_uri()), (str(former), str(home)))
                found[former] = sum(_redirect(tables, *pair) for pair in pairs)
        tables.commit()  # all or nothing
    return found


def _former(place: str, home: Path) -> Path | None:
    """The folder in which this project made an experiment with these artifacts; None if that is here, or not so.

    A folder of that name without a database beside it is somebody's own choice for the artifacts.
    """
    address = urlsplit(place)
    folder = Path(url2pathname(address.path))
    if address.scheme != "file" or folder.name != _ARTIFACTS or folder.parent == home:
        return None
    chosen = folder.is_dir() and not (folder.parent / "mlflow.db").exists()
    return None if chosen else folder.parent


def _redirect(tables: sqlite3.Connection, old: str, new: str) -> int:
    """Let the locations at or below `old` begin with `new`; returns their number."""
    changed, below = 0, f"{old}/"
    for table, column in LOCATIONS:
        known = {row[1] for row in tables.execute(f"PRAGMA table_info({table})")}
        if column in known:  # an older MLflow has fewer
            update = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
            changed += tables.execute(update, (new, len(old) + 1, len(below), below)).rowcount
    return changed


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=_PATIENCE)) as tables:
        yield tables
