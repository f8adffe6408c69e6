"""A server that goes away and comes back, one that does not come back, and workers that are stopped but not dead."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from brule import config
from brule.errors import BruleError
from brule.method.tuning import ranges, sampler
from brule.stages import storage
from brule.stages import train as trainer
from brule.stages.storage import Database, open_storage
from brule.stages.study import WORKER, join
from brule.stages.tune import tune
from brule.stages.worker import Address

sys.path.insert(0, str(Path(__file__).parent))
import errands

Tiny = Callable[..., config.Config]
STEPS = 12
SEARCHING = Path(__file__).with_name("searching.py")


@pytest.fixture(scope="module")
def undisturbed() -> list[tuple]:
    return errands.undisturbed(STEPS)


def searching(url: str, patience: float = 60, seconds: float = 0.05) -> "subprocess.Popen[str]":
    """A worker in a process of its own, in its second trial or a later one."""
    command = [sys.executable, str(SEARCHING), url, str(STEPS), str(patience), str(seconds)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() and process.stdout.readline(), process.communicate()[1]
    return process


def path(url: str) -> list[tuple]:
    search = errands.sampler()
    return errands.path(join(url, "search", search).study, search, STEPS)


# ----------------------------------------------------------------------------------------------------------- PostgreSQL


def test_a_search_goes_on_though_its_connections_are_ended_again_and_again(
    server: Any, undisturbed: list[tuple]
) -> None:
    url, rng = server.database(), random.Random(0)
    address = make_url(url).set(drivername="postgresql+psycopg", database="postgres")
    engine = create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    process = searching(url)
    assert process.stdout is not None
    with engine.connect() as session:
        for count, _ in enumerate(process.stdout):
            if count % 2 == 0:  # the next one shall have a chance
                time.sleep(rng.uniform(0, 0.15))
                session.execute(end, {"name": make_url(url).database})
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")
    assert path(url) == undisturbed


def test_a_search_goes_on_when_its_server_was_away_for_two_seconds(server: Any, undisturbed: list[tuple]) -> None:
    url = server.database()
    process = searching(url)
    server.stop()
    time.sleep(2)
    server.start()
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")
    assert path(url) == undisturbed


def test_a_server_that_stays_away_is_one_sentence_and_the_same_command_goes_on(
    server: Any, undisturbed: list[tuple]
) -> None:
    url = server.database()
    process = searching(url, patience=1)
    server.stop()
    try:
        _, told = process.communicate(timeout=120)
    finally:
        server.start()
    assert process.returncode == 1 and told.count("\n") == 1
    assert told.startswith("postgresql:///study") and "start the server; nothing is lost" in told
    known = {trial.number: trial.value for trial in join(url, "search", errands.sampler()).study.trials}
    assert sum(value is not None for value in known.values()) >= 1
    _, told = (again := searching(url)).communicate(timeout=120)
    assert (again.returncode, told) == (0, "")
    trials = join(url, "search", errands.sampler()).study.trials
    assert all(trials[number].value == value for number, value in known.items() if value is not None)
    assert path(url) == undisturbed


def test_a_lock_that_went_with_its_connection_is_taken_again(server: Any) -> None:
    url = server.database()
    place, other = open_storage(url), open_storage(url)
    assert isinstance(place, Database) and isinstance(other, Database)
    alone = list[str]()
    with place.at_work("first", lambda: None):
        assert place._session is not None
        with place.engine.connect() as session:
            ours = place._session.scalar(text("SELECT pg_backend_pid()"))
            session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": ours})
        place.remain()
        with other.at_work("second", lambda: alone.append("second")):
            assert not alone, "the first one is still at work"


# ------------------------------------------------------------------------------------------------------ stopped workers


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[BaseProcess], None]]:
    """`stopped(process)`: it does nothing more, and has not ended; it is killed after the test."""
    processes = list[BaseProcess]()

    def stop(process: BaseProcess) -> None:
        os.kill(process.pid or 0, signal.SIGSTOP)
        processes.append(process)

    yield stop
    for process in processes:
        process.kill()
        process.join()


def test_the_trial_of_a_stopped_worker_is_let_go(
    url: str, stopped: Callable[[BaseProcess], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "GRACE", 2)
    worker, talk = errands.send(errands.stall, url, errands.sampler(), errands.RANGES)
    talk.recv()
    time.sleep(0 if url.startswith("journal:") else 2 * storage.HEARTBEAT)  # a thread sees to its first
    stopped(worker)
    shared = join(url, "search", errands.sampler())
    shared.release()
    assert [trial.state for trial in shared.study.trials] == [TrialState.RUNNING]
    time.sleep(2.5)
    shared.release()
    assert [trial.state for trial in shared.study.trials] == [TrialState.FAIL]
    assert shared.study.trials[0].user_attrs[WORKER]


def test_a_search_beside_a_stopped_worker_ends_with_decided_trials(
    project: Path, tiny: Tiny, stopped: Callable[[BaseProcess], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(storage, "GRACE", 2)
    trainer.train(tiny())
    settings, place = tiny(tuning={"iterations": 1, "directions": 2, "tolerance": 0.4}), "tuning/study.journal"
    tune(settings, Address(place, "search", Path("tuning/snapshots")), 1)
    worker, talk = errands.send(errands.stall, str(project / place), sampler(settings), ranges(settings))
    held = talk.recv()  # what the second trial was to evaluate: all others wait for it
    stopped(worker)
    tune(settings, Address(place, "search", Path("tuning/snapshots")), 4)
    search = sampler(settings)
    study = join(place, "search", search).study
    assert study.trials[1].state is TrialState.FAIL and search.awaited(study) is None
    decided = [step.number for step in search.path(study)]
    assert study.trials[decided[1]].params == pytest.approx(held)
    assert len(decided) >= 4 and set(decided) <= set(pd.read_csv("results/tuning/trials.csv")["tuning/trial"])


def test_a_lock_that_is_never_let_go_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE", 0.2)
    shared = join(str(tmp_path / "tuning.journal"), "search", errands.sampler())
    holder, talk = errands.send(errands.hold, str(tmp_path / "tuning.journal"))
    assert talk.recv() == "held"
    with pytest.raises(BruleError, match=r"tuning\.journal: another process has held it for 0\.2 s; let that"):
        shared.attempt(lambda trial: 1.0)
    holder.kill()
    holder.join()
