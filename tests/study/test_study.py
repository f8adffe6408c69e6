"""Studies survive what a kill leaves in them, lost trials are let go, and unfit storages are refused in a sentence."""

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy import create_engine, make_url, text

from brule.errors import BruleError
from brule.method.golden_section import LOST
from brule.stages import storage
from brule.stages import study as studies
from brule.stages.storage import open_storage
from brule.stages.study import WORKER, Shared, join

sys.path.insert(0, str(Path(__file__).parent))
import errands

FAIL, RUNNING, COMPLETE = TrialState.FAIL, TrialState.RUNNING, TrialState.COMPLETE


def joined(url: str) -> Shared:
    return join(url, "search", RandomSampler(seed=0))


def c5(trial: optuna.Trial) -> float:
    return trial.suggest_float("c5", 1.0, 10.0)


def evaluate(shared: Shared) -> None:
    with shared.working():
        shared.attempt(c5)


def begun(url: str) -> tuple[BaseProcess, Connection]:
    """A worker in the middle of a trial. Keep the connection: the trial fails where it is closed."""
    process, talk = errands.send(errands.hang, url)
    talk.send("go")
    assert talk.recv() == "begun"
    return process, talk


def killed(url: str) -> None:
    """A worker is killed in the middle of a trial."""
    process, talk = begun(url)
    # A database hears of a trial when its heart first beats, which a thread sees to.
    time.sleep(0 if url.startswith("journal:") else 2 * storage.HEARTBEAT)
    kill(process)
    talk.close()


def asked(url: str) -> None:
    """A trial whose worker died before it could sign it."""
    process, talk = errands.send(errands.ask, url)
    assert talk.recv() == "asked"
    kill(process)


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def states(shared: Shared) -> list[TrialState]:
    return [trial.state for trial in shared.study.get_trials(deepcopy=False)]


def eventually(shared: Shared, expected: list[TrialState]) -> bool:
    """Release the trials of lost workers until these are the states of all trials."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        shared.release()
        if states(shared) == expected:
            return True
        time.sleep(0.2)
    return False


# ----------------------------------------------------------------------------------------------------- working together


def test_what_one_worker_tells_another_reads(url: str) -> None:
    first, second = joined(url), joined(url)
    evaluate(first)
    evaluate(second)
    evaluate(first)
    assert [t.number for t in second.study.trials] == [0, 1, 2]
    assert [t.params for t in second.study.trials] == [{"c5": t.value} for t in first.study.trials]


def test_workers_may_begin_the_same_study_at_once(url: str) -> None:
    workers = [errands.send(errands.hang, url) for _ in range(3)]
    for order in ("go", "end"):
        for _, talk in workers:
            talk.send(order)
    for process, _ in workers:
        process.join()
    assert [process.exitcode for process, _ in workers] == [0, 0, 0]
    assert states(joined(url)) == [COMPLETE] * 3


def test_what_workers_must_agree_on_is_settled_by_one(url: str) -> None:
    workers = [errands.send(errands.settle, url) for _ in range(3)]
    for _, talk in workers:
        talk.send("go")
    settled = {talk.recv() for _, talk in workers}
    assert settled == {joined(url).study.user_attrs["settled"]} and len({process.pid for process, _ in workers}) == 3


def test_a_study_keeps_its_direction(url: str) -> None:
    joined(url)
    with pytest.raises(BruleError, match=r"study search: .* other than maximize"):
        join(url, "search", RandomSampler(), "maximize")


# --------------------------------------------------------------------------------------------------------- lost workers


def test_the_trial_of_a_killed_worker_is_let_go_and_that_of_a_living_one_goes_on(url: str) -> None:
    living, talk = begun(url)
    killed(url)
    shared = joined(url)
    assert eventually(shared, [RUNNING, FAIL])
    assert f"{LOST}:1" in shared.study.user_attrs
    time.sleep(0 if url.startswith("journal:") else storage.GRACE)
    shared.release()
    assert states(shared) == [RUNNING, FAIL]
    talk.send("end")
    living.join()
    assert states(shared) == [COMPLETE, FAIL] and f"{LOST}:0" not in shared.study.user_attrs


def test_whoever_finds_nobody_else_at_work_lets_go_all_that_run(url: str, tmp_path: Path) -> None:
    killed(url)
    asked(url)
    shared = joined(url)
    assert states(shared) == [RUNNING, RUNNING]
    with shared.working():
        assert states(shared) == [FAIL, FAIL]
    assert {f"{LOST}:0", f"{LOST}:1"} <= shared.study.user_attrs.keys()
    assert not list(tmp_path.glob("*.worker")), "the killed worker's file is removed as well"


def test_a_newcomer_leaves_the_trials_of_others_alone(url: str) -> None:
    living = begun(url)
    shared = joined(url)
    with shared.working():
        assert states(shared) == [RUNNING]
    kill(living[0])


def test_a_trial_that_no_worker_signs_is_let_go_after_a_while(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    living = begun(url)
    asked(url)
    shared = joined(url)
    shared.release()
    assert states(shared) == [RUNNING, RUNNING]
    monkeypatch.setattr(studies, "UNSIGNED", 0)
    shared.release()
    assert states(shared) == [RUNNING, FAIL]
    kill(living[0])


def test_a_trial_from_the_queue_is_signed_as_well(url: str) -> None:
    joined(url).study.enqueue_trial({"c5": 2.0})
    evaluate(shared := joined(url))
    assert [(t.value, t.user_attrs[WORKER]) for t in shared.study.trials] == [(2.0, shared.worker)]


def test_a_worker_that_has_left_no_longer_works_at_its_trials(tmp_path: Path) -> None:
    shared = joined(f"journal:{tmp_path / 'tuning.journal'}")
    with shared.working():
        shared.study.ask().set_user_attr(WORKER, shared.worker)
        shared.release()
        assert states(shared) == [RUNNING]
    shared.release()
    assert states(shared) == [FAIL]


def test_two_workers_may_let_go_the_same_trial_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(url)
    first, second, forgive = joined(url), joined(url), studies.forgive

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(studies, "forgive", forgive)
        second.release(everything=True)
        assert states(second) == [FAIL]
        forgive(*arguments)

    monkeypatch.setattr(studies, "forgive", overtaken)
    first.release(everything=True)
    assert states(first) == [FAIL]


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(("error", "lost"), [(KeyboardInterrupt, True), (SystemExit, True), (ZeroDivisionError, False)])
def test_a_trial_fails_with_its_evaluation_and_is_forgiven_an_interrupt(
    error: type[BaseException], lost: bool, released: bool, url: str
) -> None:
    shared, other = joined(url), joined(url)

    def objective(trial: optuna.Trial) -> float:
        if released:
            other.release(everything=True)
        raise error

    with pytest.raises(error), shared.working():
        shared.attempt(objective)
    assert states(shared) == [FAIL]
    assert (f"{LOST}:0" in shared.study.user_attrs) == (lost or released)


def test_an_objective_may_let_its_trial_go(url: str) -> None:
    shared = joined(url)
    with shared.working():
        shared.attempt(lambda trial: None)
    assert states(shared) == [FAIL] and f"{LOST}:0" in shared.study.user_attrs


@pytest.mark.parametrize("late", [lambda trial: None, lambda trial: trial.set_user_attr("iteration", 1)])
def test_a_worker_whose_trial_was_given_up_goes_on(late: Callable[[optuna.Trial], None], url: str) -> None:
    shared, other = joined(url), joined(url)

    def objective(trial: optuna.Trial) -> float:
        other.release(everything=True)
        late(trial)
        return 1.0

    with shared.working():
        shared.attempt(objective)
        shared.attempt(c5)
    assert states(shared) == [FAIL, COMPLETE]


def test_a_trial_outlasts_a_restart_of_the_server(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "HEARTBEAT", 30)  # the server is back before the next beat
    shared = joined(server.database())

    def objective(trial: optuna.Trial) -> float:
        time.sleep(0.5)
        server.stop()
        server.start()
        return 1.0

    with shared.working():
        shared.attempt(objective)
    assert states(shared) == [COMPLETE]


# ---------------------------------------------------------------------------------------------------------- the journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two finished trials."""
    path = tmp_path / "tuning.journal"
    shared = joined(str(path))
    evaluate(shared)
    evaluate(shared)
    return path


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_half_a_line_at_the_end_never_happened(kept: float, path: Path) -> None:
    early = joined(str(path))  # one worker has read the journal before the kill, another comes after it
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole + last[: int(kept * len(last))])
    late = joined(str(path))
    assert len(early.study.trials) == len(late.study.trials) == 2
    evaluate(early)
    evaluate(late)
    assert [t.params for t in early.study.trials] == [t.params for t in late.study.trials]
    assert states(late) == [COMPLETE] * 4
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_optunas_own_file_is_spoiled_by_half_a_line(path: Path) -> None:
    """The reason for ours: without it this test would be pointless."""
    path.write_bytes(path.read_bytes() + b'{"op_code":')
    backend = JournalFileBackend(str(path))
    for number in range(2):
        backend.append_logs([{"op_code": 2, "number": number}])
    with pytest.raises(json.JSONDecodeError):
        list(backend.read_logs(0))


@pytest.mark.parametrize("killed", [False, True])
def test_a_writer_waits_for_the_one_before_unless_that_was_killed(killed: bool, path: Path) -> None:
    shared, before = joined(str(path)), path.read_bytes()
    holder, talk = errands.send(errands.hold, str(path))
    assert talk.recv() == "held"
    writer = threading.Thread(target=evaluate, args=(shared,), daemon=True)
    writer.start()
    writer.join(0.3)
    assert writer.is_alive() and path.read_bytes() == before
    if killed:
        holder.kill()
    else:
        talk.send("let go")
    writer.join(10)
    assert not writer.is_alive() and len(shared.study.trials) == 3
    holder.join()


BEGUN = b'{"op_code":0,"worker_id":"a","study_name":"s","directions":[1]}\n'
VAST = b'{"op_code":5,"worker_id":"a","trial_id":0,"param_name":"x","param_value_internal":1,"distribution":%b}\n' % (
    json.dumps('{"name":"FloatDistribution","attributes":{"low":1,"high":%s}}' % ("9" * 400)).encode()
)


@pytest.mark.parametrize(
    "content",
    [
        *(b"a diary", b"a diary\n", b'{"op_code":99}\n', b'{"op_code":4}\n', b'{"op_code":\n{}\n', b'{"op_code":\n'),
        BEGUN + b'{"op_code":\0}\n',
        BEGUN + b'{"op_code":4,"worker_id":"a","study_id":0,"datetime_start":"2026-01-01T00:00:00"}\n' + VAST,
    ],
)
def test_a_file_of_another_kind_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tuning.journal"
    path.write_bytes(content)
    with pytest.raises(BruleError, match=r"tuning\.journal: is not a journal"):
        open_storage(f"journal:{path}")
    assert path.read_bytes() == content


def test_a_journal_lies_in_the_projects_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for url in ("journal:sub/tuning", "sub/tuning.journal", "tuning.log"):
        open_storage(url)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")) == ["sub/tuning.journal", "tuning.log"]
    assert (tmp_path / "sub" / "tuning").is_file()


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///study.db", "two workers; write journal:FILE"),
        ("sqlite+pysqlite:///study.db", "two workers; write journal:FILE"),
        ("mysql://me:SECRET@host/studies", "mysql:….*write journal:FILE"),
        ("postgresql+psycopg2://me:SECRET@host/studies", r"postgresql\+psycopg2:…"),
        ("study.db", "study.db: .*write journal:FILE"),
        ("journal:", "journal: not a storage.*write"),
        ("", "nothing: .*write"),
        ("postgresql://me:SEC@RET@host/studies", "%40 for @"),
        ("postgresql://me:x@host:SECRET/studies", "%40 for @"),
        ("postgresql:SECRET", "cannot be read"),
        (
            "postgresql://me:SECRET@127.0.0.1:1/studies",
            r"postgresql://127\.0\.0\.1:1/studies: .*refused.*start the server",
        ),
        ("postgres:///studies?host=/nowhere&user=me&password=SECRET", "postgresql:///studies: .*start the server"),
    ],
)
def test_an_address_that_does_not_serve_is_one_sentence_without_a_password(url: str, sentence: str) -> None:
    with pytest.raises(BruleError, match=sentence) as caught:
        open_storage(url)
    message = str(caught.value)
    assert "\n" not in message and not any(part in message for part in ("SECRET", "SEC@", "RET@"))


def test_a_folder_or_a_closed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tuning.journal").mkdir()
    with pytest.raises(BruleError, match=r"tuning\.journal: a folder stands"):
        open_storage(str(tmp_path / "tuning.journal"))


def test_a_missing_database_and_a_missing_driver_are_named(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.database()
    with pytest.raises(BruleError, match=r"postgresql:///nothing: .*does not exist"):
        open_storage(re.sub(r"study\d+", "nothing", url))
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BruleError, match=r"psycopg\[binary\]"):
        open_storage(url)


def test_a_database_of_another_version_of_optuna_is_named(server: Any) -> None:
    url = server.database()
    joined(url)
    with create_engine(make_url(url).set(drivername="postgresql+psycopg")).begin() as connection:
        connection.execute(text("UPDATE version_info SET schema_version = 1"))
        connection.execute(text("UPDATE alembic_version SET version_num = 'v0.9.0.a'"))
    with pytest.raises(BruleError, match="optuna storage upgrade"):
        open_storage(url)
