"""Where studies are kept, and who is at work on them: a journal file for one machine, PostgreSQL for several.

Neither hangs for ever on a process that is stopped, nor ends because a server is restarted.
"""

import fcntl
import glob
import json
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import URL, Connection, create_engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from brule.errors import BruleError
from brule.files import root, writing
from brule.method.golden_section import forgive

HEARTBEAT = 30
"""Seconds between two signs of life of a worker."""
GRACE = 120
"""Seconds without one after which its trial has lost its worker."""
PATIENCE = 300
"""Seconds that a worker waits for a server that is away, or for a lock that another process does not let go."""
_WAYS = "write journal:FILE, or a path that ends in .journal or .log, or postgresql://USER@HOST/DATABASE"
# PostgreSQL names advisory locks by numbers, and any will do: for making the tables, for `alone`, for `at_work`.
_OPENING, _SETTLING, _WORKING = 0x62727C6C, 0x62727C6D, 0x62727C6E


class ServerLostError(BruleError):
    """The server went away in the middle of a study."""


def open_storage(url: str) -> "Journal | Database":
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


# ---------------------------------------------------------------------------------------------------------- the journal


class Journal:
    """Studies in a file. Locks on files beside it show who works: the kernel releases them when their holder dies.

    A worker that is stopped keeps its lock, but no longer touches its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.optuna = JournalStorage(JournalFileBackend(str(path), lock_obj=_WriteLock(str(path))))

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._beside("lock") as stream:
            _lock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def at_work(self, worker: str, first: Callable[[], None]) -> Iterator[None]:
        with self._beside("workers") as all_workers:
            if _try(all_workers, fcntl.LOCK_EX):
                first()
                for path in self.path.parent.glob(f"{glob.escape(self.path.name)}.*.worker"):  # left by killed ones
                    path.unlink(missing_ok=True)
            _lock(all_workers, fcntl.LOCK_SH)
            with self._beside(f"{worker}.worker") as own:
                fcntl.flock(own, fcntl.LOCK_EX)
                try:
                    with _touched(Path(own.name)):
                        yield
                finally:
                    Path(own.name).unlink(missing_ok=True)

    def remain(self) -> None:
        """The lock ends only with the process."""

    def gone(self, worker: str) -> bool:
        """Whether that worker has ended or shows no sign of life: its file is unlocked, removed, or not touched.

        Any number of others may ask at once.
        """
        try:
            with Path(f"{self.path}.{worker}.worker").open("rb") as stream:
                return _try(stream, fcntl.LOCK_SH) or time.time() - os.fstat(stream.fileno()).st_mtime > GRACE
        except FileNotFoundError:
            return True

    def trouble(self, error: BaseException) -> "ServerLostError | None":
        """There is no server."""

    def _beside(self, ending: str) -> IO[bytes]:
        path = Path(f"{self.path}.{ending}")
        with writing(path):
            return path.open("ab")


@contextmanager
def _touched(path: Path) -> Iterator[None]:
    """Touch the file at every heartbeat, for the body of the `with`."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            with suppress(OSError):
                os.utime(path)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()


def _try(stream: IO[bytes], lock: int) -> bool:
    try:
        fcntl.flock(stream, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(stream: IO[bytes], lock: int) -> None:
    """Wait for the lock. Raises BruleError where its holder does not let go: a stopped process never does."""
    end = time.monotonic() + PATIENCE
    while not _try(stream, lock):
        if time.monotonic() > end:
            raise BruleError(
                f"{stream.name}: another process has held it for {PATIENCE:g} s; "
                "let that one go on (kill -CONT) or end it, and run the same command again"
            )
        time.sleep(0.002)


class _WriteLock(JournalFileOpenLock):
    """Lets one process at a time write a journal, and removes the half line that a killed one may have left.

    Optuna's own locks are files that outlive their holder: a kill then holds up everybody for 30 s.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, grace_period=None)
        self.path = path

    def acquire(self) -> bool:
        self.stream = open(self.path, "ab+")  # noqa: SIM115 - `release` closes it
        try:
            _lock(self.stream, fcntl.LOCK_EX)
        except BruleError:
            self.stream.close()
            raise
        if self.stream.seek(0, os.SEEK_END):
            self.stream.seek(-1, os.SEEK_END)
            if self.stream.read() != b"\n":  # it would spoil the line that is written next
                self.stream.seek(0)
                self.stream.truncate(self.stream.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.stream.close()


def _journal(path: Path) -> Journal:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            stream.seek(0)
            begun = b'{"op_code":'.startswith(stream.read(11))
            stream.seek(0)
            last = b"".join(deque(stream, 1))
    try:
        if begun:
            if last.endswith(b"\n"):
                json.loads(last)  # a bad last line Optuna minds only once another one follows
            return Journal(path)
    except (ValueError, LookupError, TypeError, AssertionError, OverflowError):
        pass  # a line that no journal has
    raise BruleError(f"{path}: is not a journal of studies, or a damaged one; name another file")


# ----------------------------------------------------------------------------------------------------------- PostgreSQL


class Database:
    """Studies in PostgreSQL. Optuna notes signs of life of running trials; advisory locks end with their connection.

    Where the server is away, or has closed a connection, a new one is made; at the start of a study that must succeed
    at once, later within PATIENCE.
    """

    def __init__(self, address: URL, shown: str) -> None:
        self.address, self.shown = address, shown
        self._known, self._missed = False, 0.0  # whether the server has ever answered; since when it has not, or 0
        self._session: Connection | None = None  # that of `at_work`
        # Without a transaction there is nothing to reset, which on a closed connection would be logged as an error.
        locks: dict[str, Any] = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
        self.engine = create_engine(address, creator=self._connected, **locks)
        # Workers that make the tables at the same time would stumble over each other's.
        with self.engine.connect() as session, warnings.catch_warnings():
            session.execute(select(func.pg_advisory_lock(_OPENING)))
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.optuna = _Beating(
                address.render_as_string(hide_password=False),
                {"creator": self._connected, "pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=forgive,
            )

    def _connected(self) -> Any:
        """A connection, for which a worker waits where the server has answered before. Any number of threads may ask.

        A stopped worker must not hold up the others: the server ends its transaction.
        """
        dialect = self.engine.dialect
        words, options = dialect.create_connect_args(self.address)
        limit = f"{PATIENCE * 1000:.0f}"
        options.setdefault("options", f"-c lock_timeout={limit} -c idle_in_transaction_session_timeout={limit}")
        options = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 60_000, **options}
        while True:
            try:
                connection = dialect.connect(*words, **options)
            except dialect.loaded_dbapi.OperationalError:
                self._missed = self._missed or time.monotonic()
                if not self._known or time.monotonic() > self._missed + PATIENCE:
                    raise
                time.sleep(min(1, PATIENCE / 10))
            else:
                self._known, self._missed = True, 0.0
                return connection

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
            self._session = session
            try:
                yield
            finally:
                self._session = None

    def remain(self) -> None:
        """Take the lock of `at_work` again where it has gone with its connection, which then is replaced by itself."""
        if self._session is not None:
            try:
                self._session.execute(select(1))
            except (OperationalError, InterfaceError):
                self._session.rollback()
                self._session.execute(select(func.pg_advisory_lock_shared(_WORKING)))

    def gone(self, worker: str) -> bool:
        return False  # the heartbeat tells

    def trouble(self, error: BaseException) -> ServerLostError | None:
        """The sentence for a connection's error; None for others. Optuna wraps such an error, or stumbles over it."""
        chain: BaseException | None = error
        while chain is not None and not isinstance(chain, OperationalError | InterfaceError):
            chain = chain.__cause__ or chain.__context__
        if chain is None:
            return None
        return ServerLostError(
            f"{self.shown}: PostgreSQL is away or refuses to work ({_cause(chain)}); "
            "start the server; nothing is lost, and the same command goes on"
        )


class _Beating(RDBStorage):
    """A single sign of life may be missed. An error would end the thread that gives them."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(OptunaError, SQLAlchemyError):
            super().record_heartbeat(trial_id)


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
        return Database(address, shown)
    except ImportError:
        raise BruleError(f"{shown}: its driver is missing; pip install 'psycopg[binary]'") from None
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:
        raise BruleError(
            f"{shown}: PostgreSQL cannot be used ({_cause(error)}); "
            "start the server, make the database, or mend the address"
        ) from None


def _cause(error: BaseException) -> str:
    """The first line of what the server or the driver said."""
    inner = error if isinstance(error, SQLAlchemyError) else error.__cause__ or error
    return str(getattr(inner, "orig", None) or inner).splitlines()[0]
