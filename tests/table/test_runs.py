"""What is run, what is reused, and what a kill or a failure takes down. A stub stands in for DVC."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule import method
from brule.stages import experiments, table
from brule.stages.table import Ledger

Work = Callable[..., table.Summary]
Stubs = Callable[..., Any]
ROOT = Path(__file__).parents[2]
NAMES = ["first-0", "first-1", "second-0", "second-1", "second-2"]


def test_a_row_runs_after_the_one_it_starts_from_and_from_its_detector(
    project: Path, work: Work, new_stub: Stubs
) -> None:
    stub = new_stub()
    assert not work(stub).failed
    assert list(stub.runs) == NAMES
    ledger = Ledger(project, "t")
    entries = ledger.entries()
    for index, start in enumerate(["first-0", "first-1", "first-0"]):  # the first, where there is no third
        given = Path(stub.runs[f"second-{index}"]["train"]["initial"])
        assert given.is_absolute()
        assert given == ledger.weights(entries[start])
        assert stub.runs[f"second-{index}"]["loss"]["c5"] == 3
    assert stub.runs["first-0"]["train"]["initial"] is None
    assert [stub.runs[name]["seed"] for name in NAMES] == [0, 1, 0, 1, 2]


def test_what_is_measured_is_not_run_again_until_something_that_counts_changes(
    work: Work, new_stub: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*assignments: str) -> list[str]:
        stub = new_stub()
        work(stub, *assignments)
        return list(stub.runs)

    assert again() == NAMES
    assert again() == []
    assert again("machine.threads=1", "tracking.experiment=other", "data.location=/elsewhere") == []
    assert again("loss.c9=7") == NAMES
    assert again("loss.c9=7") == []
    monkeypatch.setattr(method, "VERSION", method.VERSION + 1)
    assert again("loss.c9=7") == NAMES


def test_after_a_kill_the_rest_is_run(work: Work, new_stub: Stubs) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(new_stub(dies="second-0"))
    stub = new_stub()
    work(stub)
    assert list(stub.runs) == ["second-0", "second-1", "second-2"]


def test_a_failure_takes_down_only_what_starts_from_it(work: Work, new_stub: Stubs) -> None:
    work(new_stub())
    summary = work(stub := new_stub(fails="first-0"), "loss.c9=7")
    assert list(stub.runs) == ["first-0", "first-1", "second-1"]
    assert summary.failed == ["first-0 failed: exit status 7"]
    assert [sentence.split()[0] for sentence in summary.skipped] == ["second-0", "second-2"]


def test_a_detector_that_is_not_here_is_trained_again_only_where_something_starts_from_it(
    project: Path, work: Work, new_stub: Stubs
) -> None:
    work(new_stub())
    for path in (project / "models" / "t").glob("*.safetensors"):  # as in a fresh clone, which brings the numbers
        path.unlink()
    work(stub := new_stub())
    assert not stub.runs
    (project / "models" / "t" / "second-1.json").unlink()
    work(stub := new_stub())
    assert list(stub.runs) == ["first-1", "second-1"]


def test_the_command_line_lists_and_explains() -> None:
    called = [sys.executable, "pipelines/table.py"]
    listed = subprocess.run([*called, "--list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        row.name for row in table.read(ROOT, "table1").rows
    ]
    wrong = subprocess.run([*called, "tabel1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "did you mean table1?" in wrong.stderr
    assert list(experiments.catalogue(ROOT / "experiments" / "tables"))[-1] == "table1"
