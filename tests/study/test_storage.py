"""Storages survive what a kill leaves in them, refuse what would not, and keep passwords to themselves."""

import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import create_engine, make_url, text

from brule.errors import BruleError
from brule.stages.study.marks import asked
from brule.stages.study.storage import alone, join, open_storage

sys.path.insert(0, str(Path(__file__).parent))
import errands


def joined(url: str) -> optuna.Study:
    return join(url, "search", RandomSampler(seed=0))


def evaluate(study: optuna.Study) -> None:
    with asked(study, {"c5": FloatDistribution(1.0, 10.0)}) as trial:
        study.tell(trial, trial.params["c5"])


def test_what_one_worker_tells_another_reads(url: str) -> None:
    first, second = joined(url), joined(url)
    evaluate(first)
    evaluate(second)
    evaluate(first)
    assert [t.number for t in second.trials] == [0, 1, 2]
    assert [t.params for t in second.trials] == [{"c5": t.value} for t in first.trials]


def test_workers_may_begin_the_same_study_at_once(url: str) -> None:
    workers = [errands.send(errands.ask, url) for _ in range(3)]
    for order in ("go", "end"):
        for _, talk in workers:
            talk.send(order)
    for process, _ in workers:
        process.join()
    assert [process.exitcode for process, _ in workers] == [0, 0, 0]
    assert [trial.number for trial in joined(url).trials] == [0, 1, 2]


def test_what_workers_must_agree_on_is_settled_by_one(url: str) -> None:
    workers = [errands.send(errands.settle, url) for _ in range(3)]
    for _, talk in workers:
        talk.send("go")
    settled = {talk.recv() for _, talk in workers}
    assert settled == {joined(url).user_attrs["settled"]} and len({process.pid for process, _ in workers}) == 3


def test_nobody_is_kept_out_of_a_study_in_memory() -> None:
    study = optuna.create_study()
    with alone(study), alone(study):
        study.set_user_attr("settled", 1)


def test_a_study_keeps_its_direction(url: str) -> None:
    joined(url)
    with pytest.raises(BruleError, match=r"study search: .* other than maximize"):
        join(url, "search", RandomSampler(), "maximize")


# ---------------------------------------------------------------------------------------------------------- the journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two finished trials."""
    path = tmp_path / "tuning.journal"
    study = joined(str(path))
    evaluate(study)
    evaluate(study)
    return path


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_half_a_line_at_the_end_never_happened(kept: float, path: Path) -> None:
    early = joined(str(path))  # one worker has read the journal before the kill, another comes after it
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole + last[: int(kept * len(last))])
    late = joined(str(path))
    assert len(early.trials) == len(late.trials) == 2
    evaluate(early)
    evaluate(late)
    assert [t.params for t in early.trials] == [t.params for t in late.trials] and len(late.trials) == 4
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
    study, before = joined(str(path)), path.read_bytes()
    holder, talk = errands.send(errands.hold, str(path))
    assert talk.recv() == "held"
    writer = threading.Thread(target=evaluate, args=(study,), daemon=True)
    writer.start()
    writer.join(0.3)
    assert writer.is_alive() and path.read_bytes() == before
    if killed:
        holder.kill()
    else:
        talk.send("let go")
    writer.join(10)
    assert not writer.is_alive() and len(study.trials) == 3
    holder.join()


@pytest.mark.parametrize(
    "content", [b"a diary", b"a diary\n", b'{"op_code":99}\n', b'{"op_code":4}\n', b'{"op_code":\n{}\n']
)
def test_a_file_of_another_kind_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tuning.journal"
    path.write_bytes(content)
    with pytest.raises(BruleError, match=r"tuning\.journal: is no journal"):
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
        ("journal:", "journal: no storage|journal:.*write"),
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
