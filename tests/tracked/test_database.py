"""mlflow.db as a file: cut off while it is made, damaged, without room, copied and moved; the work always goes on."""

import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from brule import tracking
from brule.config import Config
from brule.tracking import database

mlflow = pytest.importorskip("mlflow")

SOURCE = Path(tracking.__file__).parents[2]
PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def quick(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new database is there at once: MLflow takes seconds to make one."""
    monkeypatch.setattr(database, "_make", lambda path: shutil.copy(template, path))


def client(root: Path) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as tables:
        for statement in statements:
            tables.execute(statement)
        tables.commit()


def locations(root: Path) -> set[str]:
    """Every value in the columns that say where artifacts lie."""
    with closing(sqlite3.connect(root / "mlflow.db")) as tables:
        found = [tables.execute(f"SELECT {column} FROM {table}").fetchall() for table, column in database.LOCATIONS]
    return {str(value) for rows in found for (value,) in rows if value is not None}


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file below a folder was written, and its size."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


# -------------------------------------------------------------------------------------------- made whole or not at all


def test_a_database_that_was_never_finished_is_set_aside_and_made_anew(
    root: Path, config: Config, quick: None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = root / "mlflow.db"
    change(path, "DELETE FROM alembic_version", "DELETE FROM experiments")  # as a kill between two migrations leaves it
    os.utime(path, (1, 1))
    with tracking.run(config, "train") as run:
        pass
    assert client(root).get_run(run.id).info.status == "FINISHED"
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "was never finished and holds no run; it is now mlflow.db.half-made" in told
    assert (root / "mlflow.db.half-made").exists()


def test_one_that_somebody_is_making_at_this_moment_is_waited_for(
    root: Path, config: Config, template: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    path = root / "mlflow.db"
    path.write_bytes(b"")
    monkeypatch.setattr(database.time, "sleep", lambda _: shutil.copy(template, path))
    with tracking.run(config, "train") as run:
        pass
    assert run.id is not None and capfd.readouterr().err == "" and not list(root.glob("*half-made"))


KILLED = """
import os, signal, sys, time
from brule import tracking
from brule.config import read
from brule.tracking.store import available

available()
config = read(sys.argv[1])
if (child := os.fork()) == 0:
    with tracking.run(config, "train"):
        os._exit(0)
while not any(name.startswith("mlflow.db.making-") and os.listdir(name) for name in os.listdir()):
    time.sleep(0.01)
time.sleep(0.2)
os.kill(child, signal.SIGKILL)
"""


def test_a_kill_leaves_no_half_of_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    subprocess.run([sys.executable, "-c", KILLED, str(PARAMS)], cwd=tmp_path, check=True, timeout=120)
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"mlflow.db.lock", "mlflow.db.making"}


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may grow beyond this, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_room_the_work_goes_on_and_nothing_is_left_behind(
    root: Path, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / "mlflow.db").unlink()
    (root / "mlflow.db.making-earlier").mkdir()  # by a kill
    with room(300_000), tracking.run(config, "train") as run:
        run.metrics({"loss/R_b": 1.0}, 0)
    told = capfd.readouterr().err
    assert run.id is None and told.count("\n") == 1 and "mlflow.db: MLflow cannot open its store" in told
    assert "free some space. This run is not tracked; the work goes on" in told
    assert [path.name for path in root.iterdir()] == ["mlflow.db.lock"]


def test_artifacts_without_room_are_one_sentence(
    root: Path, config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    with tracking.run(config, "train") as run, room(2_000_000):
        for _ in range(2):
            run.artifact(tmp_path / "large")
        run.metrics({"loss/R_b": 1.0}, 0)
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "File too large" in told and "the work goes on" in told
    found = client(root).get_run(run.id)
    assert found.info.status == "FINISHED" and found.data.metrics == {"loss/R_b": 1.0}


# ------------------------------------------------------------------------------------------------------------ of no use


@pytest.mark.parametrize(
    ("trouble", "cause", "mend"),
    [
        ("text", "file is not a database", "move it away, and the next run makes a new one"),
        ("torn", "malformed", "move it away, and the next run makes a new one"),
        ("folder", "unable to open", "let it and its folder be read and written"),
        ("older", "out-of-date database schema", "run `mlflow db upgrade sqlite:///"),
    ],
)
def test_a_database_of_no_use_is_one_sentence_and_stays_as_it_is(
    root: Path, config: Config, capfd: pytest.CaptureFixture[str], trouble: str, cause: str, mend: str
) -> None:
    path = root / "mlflow.db"
    match trouble:
        case "text":
            path.write_text("no database")
        case "torn":
            path.write_bytes(path.read_bytes()[:20_000])
        case "folder":
            path.unlink(), path.mkdir()
        case "older":
            change(path, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    before = path.read_bytes() if path.is_file() else None
    with tracking.run(config, "train") as run:
        run.metrics({"loss/R_b": 1.0}, 0)
    told = capfd.readouterr().err
    assert run.id is None and told.count("\n") == 1, told
    assert cause in told and mend in told and "This run is not tracked; the work goes on" in told
    assert before is None or path.read_bytes() == before


def test_a_folder_that_takes_no_file_is_one_sentence(
    root: Path, config: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_ROOT", "/sys")  # where not even root may write
    with tracking.run(config, "train") as run:
        pass
    told = capfd.readouterr().err
    assert run.id is None and told.count("\n") == 1 and "/sys/mlflow.db: MLflow cannot open its store" in told
    assert "let it and its folder be read and written" in told


# ----------------------------------------------------------------------------------------------------- copied and moved


def track(config: Config, root: Path, monkeypatch: pytest.MonkeyPatch, resume_id: str | None = None) -> str:
    """The id of a run that keeps a file."""
    monkeypatch.setenv("DVC_ROOT", str(root))
    with tracking.run(config, "train", resume_id=resume_id) as run:
        run.artifact(PARAMS, "kept")
    assert run.id is not None
    return run.id


def test_a_copied_project_writes_nothing_into_the_old_folder(
    root: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    id, copy = track(config, root, monkeypatch), tmp_path / "a copy"
    shutil.copytree(root, copy)
    before = contents(root)
    track(config, copy, monkeypatch, resume_id=id)
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and f"{copy}/mlflow.db was in {root} before; 2 places of artifacts" in told
    new = track(config, copy, monkeypatch)
    assert capfd.readouterr().err == "", "it is told once"
    assert contents(root) == before
    assert {path.parts[-4] for path in copy.rglob("kept/params.yaml")} == {id, new}
    assert not [place for place in locations(copy) if str(root) in place]


def test_a_moved_project_does_not_make_its_old_folder_again(
    root: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, moved = track(config, root, monkeypatch), tmp_path / "moved"
    root.rename(moved)
    track(config, moved, monkeypatch)
    assert not root.exists()
    assert client(moved).list_artifacts(id, "kept")[0].path == "kept/params.yaml"
    moved.rename(root)


def test_what_the_user_has_chosen_for_the_artifacts_is_left_alone(
    root: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = tmp_path / "large disk" / "mlartifacts"
    chosen.mkdir(parents=True)
    places = ["s3://bucket/mlartifacts", "mlflow-artifacts:/2", chosen.as_uri(), (tmp_path / "other").as_uri()]
    for number, place in enumerate(places):
        client(root).create_experiment(f"e{number}", artifact_location=place)
    monkeypatch.setenv("DVC_ROOT", str(root))
    track(config, root, monkeypatch)
    before = locations(root)
    moved = tmp_path / "moved"
    root.rename(moved)
    track(config, moved, monkeypatch)
    assert "was in" in capfd.readouterr().err
    assert {place for place in before if str(root) not in place} <= locations(moved)
    assert set(places) <= locations(moved)
    moved.rename(root)


def test_a_database_of_the_user_s_own_is_left_alone(
    root: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may serve several projects."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(root / 'mlflow.db', tmp_path / 'shared.db')}")
    id, copy = track(config, root, monkeypatch), tmp_path / "second"
    shutil.copytree(root, copy)
    track(config, copy, monkeypatch, resume_id=id)
    assert capfd.readouterr().err == ""


def test_every_column_of_mlflow_with_a_location_is_known(template: Path) -> None:
    """If this fails, MLflow has changed its tables: see whether the new column holds places of artifacts."""
    harmless = {
        *(("datasets", "dataset_source"), ("evaluation_dataset_records", "source"), ("mcp_server_versions", "source")),
        *(("webhooks", "url"), ("mcp_access_endpoints", "url")),
        # What is set on purpose, and only with a server.
        *(("workspaces", "default_artifact_root"), ("workspaces", "trace_archival_location")),
    }
    with closing(sqlite3.connect(template)) as tables:
        names = "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'"
        columns = set(tables.execute(names))
    suspicious = {(t, c) for t, c in columns if re.search(r"location|artifact|path|folder|(^|_)(source|ur[il])$", c)}
    assert set(database.LOCATIONS) <= suspicious <= set(database.LOCATIONS) | harmless
