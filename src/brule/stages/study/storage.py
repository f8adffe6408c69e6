"""Where studies are kept: in a journal file for the workers of one machine, in PostgreSQL for those of several.

Both outlive a SIGKILL at any moment, and mark every trial with its worker; `brule.study.marks` says what for.
"""

import fcntl
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, _CachedStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, create_engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from brule.errors import BruleError
from brule.files import root, writing
from brule.stages.study.marks import Marked

HEARTBEAT = 30
"""Seconds between two signs of life of a trial in PostgreSQL."""
GRACE = 120
"""Seconds without one after which its worker counts as lost."""
_WAYS = "write journal:FILE, or a path that ends in .journal or .log, or postgresql://USER@HOST/DATABASE"
_OPENING, _SETTLING = 0x62727C6C, 0x62727C6D  # any numbers; they name locks: of making the tables, and of `alone`


class _Journal(Marked, JournalStorage):
    pass


class _Database(Marked, _CachedStorage):
    def record_heartbeat(self, trial_id: int) -> None:
        """A server that is being restarted is met again at the next beat; an error would end the beating."""
        with suppress(StorageInternalError, SQLAlchemyError):
            super().record_heartbeat(trial_id)


class _File(JournalFileBackend):
    """A journal that one process at a time writes, under a lock of the kernel's, which goes with its holder.

    Optuna's own locks are files: after a kill they hold up everybody for 30 s, until somebody breaks them.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with open(self._file_path, "ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            _mend(stream)
            stream.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())
            stream.flush()
            os.fsync(stream.fileno())


def _mend(stream: IO[bytes]) -> None:
    """Remove a last line that a kill or a full disk cut short: joined to the next one it would spoil the journal."""
    if stream.seek(0, os.SEEK_END):
        stream.seek(-1, os.SEEK_END)
        if stream.read() != b"\n":
            stream.seek(0)
            stream.truncate(stream.read().rfind(b"\n") + 1)


def open_storage(url: str) -> BaseStorage:
    """The storage at `url`, made where there is none; relative paths count from the project's folder.

    Raises BruleError, which never shows a password, where the address, the file or the server does not serve.
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
    raise BruleError(f"{scheme + ':…' if rest else url or 'nothing'}: no storage for studies; {_WAYS}")


def _journal(path: Path) -> JournalStorage:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            stream.seek(0)
            begun = b'{"op_code":'.startswith(stream.read(11))
    try:
        if begun:
            return _Journal(_File(str(path)))
    except (ValueError, LookupError, TypeError, AssertionError):
        pass  # a line that no journal has
    raise BruleError(f"{path}: is no journal of studies, or a damaged one; name another file")


def _database(url: str) -> BaseStorage:
    try:
        address = make_url(url if url.partition("?")[0].count("@") < 2 else "").set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):  # from None: the cause may quote the password
        raise BruleError(
            "postgresql:…: the address cannot be read; write postgresql://USER:PASSWORD@HOST:5432/DATABASE, "
            "in the password %40 for @, %3A for : and %2F for /"
        ) from None
    shown = f"postgresql://{address.host or ''}{f':{address.port}' if address.port else ''}/{address.database or ''}"
    try:
        return _connect(address)
    except ImportError:
        raise BruleError(f"{shown}: its driver is missing; pip install 'psycopg[binary]'") from None
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:
        cause = getattr(error.__cause__ or error, "orig", None) or error
        raise BruleError(
            f"{shown}: PostgreSQL cannot be used ({str(cause).splitlines()[0]}); "
            "start the server, make the database, or mend the address"
        ) from None


def _connect(address: URL) -> _Database:
    options = {"connect_args": {"connect_timeout": 10}, "pool_pre_ping": True}
    # Two workers that made the tables at once would meet each other's.
    with create_engine(address, **options, poolclass=NullPool).connect() as alone, warnings.catch_warnings():
        alone.execute(select(func.pg_advisory_lock(_OPENING)))
        warnings.simplefilter("ignore", ExperimentalWarning)
        written = address.render_as_string(hide_password=False)
        return _Database(RDBStorage(written, options, heartbeat_interval=HEARTBEAT, grace_period=GRACE))


def join(
    url: str, name: str, sampler: BaseSampler, direction: Literal["minimize", "maximize"] = "minimize"
) -> optuna.Study:
    """The study of that name at `url`, begun where there is none. Raises BruleError where it has another direction."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a search has a display of its own
    study = optuna.create_study(
        storage=open_storage(url), study_name=name, sampler=sampler, direction=direction, load_if_exists=True
    )
    if [each.name.lower() for each in study.directions] != [direction]:
        raise BruleError(f"study {name}: it was begun to do other than {direction}; give the new one another name")
    return study


@contextmanager
def alone(study: optuna.Study) -> Iterator[None]:
    """One process at a time, of all that share the study's storage, goes through the body of the `with`.

    So what its workers must agree on is settled by the first: a study has no way to set only what is not set yet. The
    lock goes with a process that is killed. Inside one process it keeps nobody out of a study in memory.
    """
    storage = study._storage
    if isinstance(storage, _Journal):
        assert isinstance(storage._backend, _File)
        path = Path(f"{storage._backend._file_path}.lock")
        with writing(path):
            stream = path.open("ab")
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
    elif isinstance(storage, _Database):
        with storage._backend.engine.begin() as transaction:
            transaction.execute(select(func.pg_advisory_xact_lock(_SETTLING)))
            yield
    else:
        yield
