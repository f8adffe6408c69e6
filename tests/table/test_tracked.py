"""Results that MLflow has and the ledger lacks: taken over where they are the job's own, and only there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule.stages import table
from brule.stages.table.ledger import Entry, Ledger
from brule.tracking.past import Past

Jobs = Callable[..., tuple[table.Table, list[table.Job]]]
Stubs = Callable[..., Any]

SCORES = {"nme": 4.5, "w1": 4.4, "images": 5.0, "parts/jaw": 7.0}


def past(job: table.Job, weights: str, initial: str | None = None, **more: Any) -> Past:
    """A finished run as `train` and `evaluate` leave it in MLflow."""
    metrics = {
        f"{split}/{name}": value for split in ("test", "evaluation/validation") for name, value in SCORES.items()
    }
    metrics |= {"final/seconds": 90.0, "final/threads": 2.0, "test_but_not/nme": 1.0}
    tags = {"content": job.content, "weights": weights, "alarms": '["spread is low"]'}
    tags |= {} if initial is None else {"initial": initial}
    told = {"id": f"id-{weights}", "name": "elsewhere", "finished": 50.0, "params": {"data.source": "synthetic"}}
    return Past(**told | {"tags": tags, "metrics": metrics} | more)


def test_a_run_of_another_machine_becomes_the_rows_result(project: Path, jobs: Jobs, new_stub: Stubs) -> None:
    read, every = jobs()
    ledger = Ledger(project, "t")
    first, second = every[0], every[2]
    taken = table.collect(every, ledger, [past(second, "w2", initial="w1"), past(first, "w1")])
    assert [sentence.split(":")[0] for sentence in taken] == ["first-0", "second-0"]
    found = ledger.entries()["first-0"]
    scores = {"nme": 4.5, "w1": 4.4, "images": 5, "parts": {"jaw": 7.0}}
    assert found.test == found.validation == scores
    assert (found.seconds, found.threads, found.alarms) == (90.0, 2, ("spread is low",))
    assert (found.experiment, found.mlflow_run_id, found.source) == ("elsewhere", "id-w1", "synthetic")
    assert table.current(every, ledger.entries()) == {"first-0", "second-0"}
    assert ledger.weights(found) is None, "its detector stays where it is"
    assert table.collect(every, ledger, [past(first, "w1")]) == [], "once is enough"
    text = table.render(read, every, ledger.entries(), table.current(every, ledger.entries()))
    assert "| First ‡ | images | 4.50 (1) |" in text and "Measured on 5 test images" in text
    table.complete(every, ledger, "t", stub := new_stub())
    assert "second-0" in stub.runs and "first-0" in stub.runs, "second-2 starts from its detector, which is not here"


def test_what_is_not_the_jobs_own_is_left(project: Path, jobs: Jobs) -> None:
    _, every = jobs()
    first, second = every[0], every[2]
    ledger = Ledger(project, "t")
    own = past(first, "w1")
    for stranger in (
        past(first, "w1", initial="w0"),  # from other weights
        past(jobs("loss.c9=7")[1][0], "w1"),  # other parameters
        past(first, "w1", tags={k: v for k, v in own.tags.items() if k != "alarms"}),  # not evaluated
        past(first, "w1", metrics={"final/seconds": 1.0}),
        past(second, "w2", initial="w1"),  # where nothing is known of the run it starts from
    ):
        assert table.collect(every, ledger, [stranger]) == []
    assert ledger.entries() == {}


def test_the_ledger_counts_more_unless_its_result_is_older_and_stale(
    project: Path, jobs: Jobs, entry: Callable[..., Entry]
) -> None:
    _, every = jobs()
    job, ledger = every[0], Ledger(project, "t")
    ledger.keep(entry("first-0", digest=job.digest(None), finished=1.0), b"")
    assert table.collect(every, ledger, [past(job, "w1")]) == []
    ledger.keep(entry("first-0", digest="stale", finished=99.0), b"")
    assert table.collect(every, ledger, [past(job, "w1")]) == []
    ledger.keep(entry("first-0", digest="stale", finished=1.0), b"")
    assert len(table.collect(every, ledger, [past(job, "w1", finished=40.0), past(job, "w0", finished=30.0)])) == 1
    assert ledger.entries()["first-0"].weights == "w1", "the newest"


def test_a_store_that_is_not_there_costs_a_sentence(project: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (sentence,) = table.take(jobs()[1], Ledger(project, "t"))
    assert sentence.startswith("nothing is taken from MLflow: sqlite:///")
