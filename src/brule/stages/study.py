"""A study that workers share and that outlives a kill of any of them: where it is kept, and which trials lost a worker.

A journal file serves the workers of one machine, PostgreSQL those of several. A killed worker costs at most the trial
that it was evaluating: whoever comes later fails that trial, and the search tries its probe again.
"""

import fcntl
import glob
import io
import math
import os
import secrets
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore, download_artifact, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import ExperimentalWarning, OptunaError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage, RDBStorage, fail_stale_trials
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, create_engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from brule.errors import BruleError
from brule.files import root, write_bytes, writing
from brule.method.golden_section import forgive

HEARTBEAT = 30
"""Seconds between two signs of life of a trial in PostgreSQL."""
GRACE = 120
"""Seconds without one after which a trial has lost its worker."""
UNSIGNED = 60
"""Seconds for which a running trial may be without its worker's name; then it has lost its worker, too."""
WORKER = "worker"
"""The user attribute of a trial that holds the name of its worker."""
_SNAPSHOT = "snapshot"  # the user attribute of a trial that holds the id of an artifact
_WAYS = "write journal:FILE, or a path that ends in .journal or .log, or postgresql://USER@HOST/DATABASE"
# PostgreSQL names advisory locks by numbers, and any will do: for making the tables, for `alone`, for `at_work`.
_OPENING, _SETTLING, _WORKING = 0x62727C6C, 0x62727C6D, 0x62727C6E


class Journal:
    """Studies in a file. Locks on files beside it show who works: the kernel releases them when their holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_WriteLock(str(path))))

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._beside("lock") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def at_work(self, worker: str, first: Callable[[], None]) -> Iterator[None]:
        with self._beside("workers") as all_workers:
            if _try(all_workers, fcntl.LOCK_EX):
                first()
                for path in self.path.parent.glob(f"{glob.escape(self.path.name)}.*.worker"):  # left by killed ones
                    path.unlink(missing_ok=True)
            fcntl.flock(all_workers, fcntl.LOCK_SH)
            with self._beside(f"{worker}.worker") as own:
                fcntl.flock(own, fcntl.LOCK_EX)
                try:
                    yield
                finally:
                    Path(own.name).unlink(missing_ok=True)

    def gone(self, worker: str) -> bool:
        """Whether that worker has ended: its file is unlocked or removed. Any number of others may ask at once."""
        try:
            with Path(f"{self.path}.{worker}.worker").open("rb") as stream:
                return _try(stream, fcntl.LOCK_SH)
        except FileNotFoundError:
            return True

    def _beside(self, ending: str) -> IO[bytes]:
        path = Path(f"{self.path}.{ending}")
        with writing(path):
            return path.open("ab")


def _try(stream: IO[bytes], lock: int) -> bool:
    try:
        fcntl.flock(stream, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _WriteLock(JournalFileOpenLock):
    """Lets one process at a time write a journal, and removes the half line that a killed one may have left.

    Optuna's own locks are files that outlive their holder: a kill then holds up everybody for 30 s.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, grace_period=None)
        self.path = path

    def acquire(self) -> bool:
        self.stream = open(self.path, "ab+")  # noqa: SIM115 - `release` closes it
        fcntl.flock(self.stream, fcntl.LOCK_EX)
        if self.stream.seek(0, os.SEEK_END):
            self.stream.seek(-1, os.SEEK_END)
            if self.stream.read() != b"\n":  # it would spoil the line that is written next
                self.stream.seek(0)
                self.stream.truncate(self.stream.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.stream.close()


class Database:
    """Studies in PostgreSQL. Optuna notes signs of life of running trials; advisory locks end with their connection."""

    def __init__(self, address: URL) -> None:
        options: dict[str, Any] = {"connect_args": {"connect_timeout": 10}}
        self.engine = create_engine(address, **options, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        # Workers that make the tables at the same time would stumble over each other's.
        with self.engine.connect() as session, warnings.catch_warnings():
            session.execute(select(func.pg_advisory_lock(_OPENING)))
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.storage = RDBStorage(
                address.render_as_string(hide_password=False),
                {**options, "pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=forgive,
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self.engine.connect() as session:
            session.execute(select(func.pg_advisory_lock(_SETTLING)))
            yield

    @contextmanager
    def at_work(self, worker: str, first: Callable[[], None]) -> Iterator[None]:
        with self.engine.connect() as session:
            if found := session.scalar(select(func.pg_try_advisory_lock(_WORKING))):
                first()
            session.execute(select(func.pg_advisory_lock_shared(_WORKING)))
            if found:
                session.execute(select(func.pg_advisory_unlock(_WORKING)))
            yield

    def gone(self, worker: str) -> bool:
        return False  # the heartbeat tells


@dataclass(frozen=True)
class Shared:
    """A study with the place where it is kept, in the hands of one worker."""

    study: optuna.Study
    place: Journal | Database
    worker: str = field(default_factory=lambda: secrets.token_hex(8))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one process at a time, of all that share the storage, runs the body of the `with`.

        The first one there settles what the workers must agree on: a study has no way to set only what is not set yet.
        The lock ends with a process that is killed.
        """
        with self.place.alone():
            yield

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count as a worker, for the body of the `with`. Trials that run while nobody else works are let go."""
        with self.place.at_work(self.worker, lambda: self.release(everything=True)):
            yield

    def attempt(self, objective: Callable[[optuna.Trial], float | None]) -> None:
        """Evaluate one trial. It is let go where the objective returns None or is interrupted.

        An Exception of the objective fails the trial on its own account, and is passed on. A worker that was held up
        for so long that others have given up its trial loses the value, and goes on.
        """
        self.release()
        ended, raised = list[int](), list[BaseException]()

        def evaluate(trial: optuna.Trial) -> float:
            try:
                trial.set_user_attr(WORKER, self.worker)
                value = objective(trial)
            except BaseException as error:
                raised.append(error)
                if not isinstance(error, Exception):
                    forgive(self.study, trial)
                if not isinstance(error, Exception | KeyboardInterrupt):  # after these, Optuna ends the trial itself
                    self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
                raise
            if value is None:
                forgive(self.study, trial)
            ended.append(trial.number)
            return math.nan if value is None else value  # Optuna fails a trial whose value is not a number

        try:
            self.study.optimize(evaluate, n_trials=1)
        except BaseException:
            if raised and not isinstance(raised[0], UpdateFinishedTrialError):
                raise raised[0] from None  # Optuna raises another error where the trial has been given up
            if not raised and (not ended or self._state(ended[0]) is TrialState.RUNNING):
                raise

    def _state(self, number: int) -> TrialState:
        return self.study.get_trials(deepcopy=False)[number].state

    def release(self, everything: bool = False) -> None:
        """Let go of the trials of lost workers, or of every running trial. Several workers may do so at once."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if everything or self._lost(trial):
                forgive(self.study, trial)
                with suppress(UpdateFinishedTrialError):  # another worker was faster
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self.study)

    def _lost(self, trial: FrozenTrial) -> bool:
        if WORKER in trial.user_attrs:
            return self.place.gone(str(trial.user_attrs[WORKER]))
        begun = trial.datetime_start or datetime.now()
        return (datetime.now().astimezone() - begun.astimezone()).total_seconds() > UNSIGNED


def join(url: str, name: str, sampler: BaseSampler, direction: Literal["minimize", "maximize"] = "minimize") -> Shared:
    """The study of that name at `url`, begun where there is none. Raises BruleError where it has another direction."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a search has a display of its own
    place = open_place(url)
    study = optuna.create_study(
        storage=place.storage, study_name=name, sampler=sampler, direction=direction, load_if_exists=True
    )
    if [each.name.lower() for each in study.directions] != [direction]:
        raise BruleError(f"study {name}: it was begun to do other than {direction}; give the new one another name")
    return Shared(study, place)


def open_place(url: str) -> Journal | Database:
    """The storage at `url`, made where there is none; relative paths count from the project's folder.

    Raises BruleError where the address, the file or the server cannot be used; it never shows a password.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "journal" and rest:
        return _journal(root() / rest)
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return _database(url)
    if scheme.partition("+")[0] == "sqlite":
        raise BruleError(f"a study in SQLite may hand one trial to two workers; {_WAYS}")
    if url.endswith((".journal", ".log")) and "://" not in url:
        return _journal(root() / url)
    raise BruleError(f"{scheme + ':…' if rest else url.rstrip(':') or 'nothing'}: not a storage for studies; {_WAYS}")


def _journal(path: Path) -> Journal:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            stream.seek(0)
            begun = b'{"op_code":'.startswith(stream.read(11))
    try:
        if begun:
            return Journal(path)
    except (ValueError, LookupError, TypeError, AssertionError):
        pass  # a line that no journal has
    raise BruleError(f"{path}: is not a journal of studies, or a damaged one; name another file")


def _database(url: str) -> Database:
    try:
        address = make_url(url if url.partition("?")[0].count("@") < 2 else "").set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):  # from None: the cause may quote the password
        raise BruleError(
            "postgresql:…: the address cannot be read; write postgresql://USER:PASSWORD@HOST:5432/DATABASE, "
            "in the password %40 for @, %3A for : and %2F for /"
        ) from None
    shown = f"postgresql://{address.host or ''}{f':{address.port}' if address.port else ''}/{address.database or ''}"
    try:
        return Database(address)
    except ImportError:
        raise BruleError(f"{shown}: its driver is missing; pip install 'psycopg[binary]'") from None
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:
        cause = getattr(error.__cause__ or error, "orig", None) or error
        raise BruleError(
            f"{shown}: PostgreSQL cannot be used ({str(cause).splitlines()[0]}); "
            "start the server, make the database, or mend the address"
        ) from None


class Snapshots:
    """What trials left and later ones train on from: Optuna artifacts in `folder`, which all workers must see."""

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.study, self.folder, self.store = study, folder, FileSystemArtifactStore(str(folder))

    def keep(self, trial: optuna.Trial, state: dict[str, Any]) -> None:
        """Store what a trial left: tensors, numbers and text. Call it before the trial ends."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            path = Path(place) / "state.pt"
            write_bytes(path, buffer.getvalue())
            found = upload_artifact(artifact_store=self.store, file_path=str(path), study_or_trial=trial)
        trial.set_user_attr(_SNAPSHOT, found)

    def of(self, number: int) -> dict[str, Any]:
        """What the trial of that number left. Raises BruleError where it is not in the folder."""
        id = self.study.get_trials(deepcopy=False)[number].user_attrs.get(_SNAPSHOT)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "state.pt"
            try:
                download_artifact(artifact_store=self.store, artifact_id=str(id), file_path=str(path))
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (ArtifactNotFound, OSError):
                raise BruleError(
                    f"{self.folder}: lacks what trial {number} left; give every worker the same --snapshots folder"
                ) from None
            except Exception as error:  # torch raises whatever its zip reader or unpickler meets
                raise BruleError(
                    f"{self.folder}: what trial {number} left cannot be read ({type(error).__name__})"
                ) from None
        return state

    def prune(self, needed: set[int]) -> None:
        """Remove what the finished trials left, except these: no trial will train on from it."""
        for trial in self.study.get_trials(deepcopy=False):
            id = trial.user_attrs.get(_SNAPSHOT) if trial.state.is_finished() else None
            if trial.number not in needed and id:
                with suppress(ArtifactNotFound, OSError):  # another worker was faster
                    self.store.remove(id)
