"""Where the tests keep their studies: a journal file, and a PostgreSQL server of their own where one is installed."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

_NUMBERS = itertools.count()


class Server(NamedTuple):
    """A private cluster: it listens on a Unix socket alone, believes every caller, and loses all when the tests end."""

    programs: Path
    data: Path

    def call(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs, as `postgres` where we are root, whom it refuses to serve."""
        user = {"user": "postgres", "group": "postgres", "extra_groups": ()} if os.geteuid() == 0 else {}
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.data.parent, **user)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.data.parent} -c fsync=off"
        # Without -l the server would hold the pipes of `call` open.
        self.call("pg_ctl", "-D", self.data, "-w", "-l", self.data.parent / "log", "-o", options, "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"study{next(_NUMBERS)}"
        self.call("createdb", "-h", self.data.parent, "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self.data.parent}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    program = found[-1] if found else shutil.which("initdb")
    if program is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # Not tmp_path: its folders are closed to other users, and the name of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="brule-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        server = Server(Path(program).parent, folder / "data")
        server.call("initdb", "-D", server.data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        server.start()
        folder.chmod(0o755)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["journal", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a storage that holds nothing yet, of either kind."""
    if request.param == "journal":
        return f"journal:{tmp_path / 'tuning.journal'}"
    return request.getfixturevalue("server").database()
