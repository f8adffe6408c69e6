"""A project with a table of two rows, and a stub that runs them in the place of DVC."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from brule import method
from brule.stages import table
from brule.stages.table import Entry, Ledger
from brule.stages.table.launcher import FailedError, Outcome

ROOT = Path(__file__).parents[2]
Rows = list[dict[str, Any]]
Jobs = Callable[..., tuple[table.Table, list[table.Job]]]


class Stub:
    """Stands for DVC: every run has as NME the number of runs before it, and a detector of its own."""

    def __init__(self, fails: str = "", dies: str = "") -> None:
        self.fails, self.dies = fails, dies
        self.runs: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, parameters: dict[str, Any]) -> Outcome:
        if name == f"t-{self.dies}":
            raise KeyboardInterrupt
        self.runs[name.removeprefix("t-")] = parameters
        if name == f"t-{self.fails}":
            raise FailedError("exit status 7")
        scores = {"nme": float(len(self.runs)), "w1": 1.0, "images": 5}
        scores |= dict.fromkeys(("floor_nme", "oracle_similarity_nme", "oracle_affine_nme", "floor_w1"), 9.0)
        train = {"seconds": 90.0, "threads": 1, "mlflow_run_id": "m", "collapsed": None}
        metrics = {"test": scores, "validation": scores, "alarms": []}
        return Outcome("c0ffee", metrics, train, f"{name} {parameters}".encode())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "experiments" / "tables").mkdir(parents=True)
    (tmp_path / "experiments" / "half.yaml").write_text("# Half of it\nloss: {c5: 10}\n")
    (tmp_path / "experiments" / "real.yaml").write_text(
        "# Real\ndata: {source: 300w, extra: {source: celeba, use: join}}\n"
    )
    return tmp_path


@pytest.fixture
def rows() -> Rows:
    """Two rows, the second of which starts from the first, and a third that needs real faces."""
    first = {"name": "first", "title": "First", "saw": "images", "group": "all", "experiment": "half"}
    second = {"name": "second", "title": "Second", "saw": "labels", "group": "all", "experiment": "half"}
    real = {"name": "real", "title": "Real", "saw": "faces", "group": "other", "experiment": "real"}
    return [
        first | {"runs": [{"seed": 0}, {"seed": 1}]},
        second | {"initial": "first", "runs": [{"seed": seed, "loss.c5": 3} for seed in (0, 1, 2)]},
        real,
    ]


@pytest.fixture
def jobs(project: Path, rows: Rows) -> Jobs:
    """`jobs(*assignments, rows=…, settings=…)`: the table of these rows (the first two) as read again, and its runs."""

    def build(
        *assignments: str, rows: Rows = rows[:2], settings: dict[str, Any] | None = None
    ) -> tuple[table.Table, list[table.Job]]:
        groups = {"all": "All of it", "other": "Other"}
        raw = {"title": "T", "settings": settings or {}, "groups": groups, "rows": rows}
        YAML().dump(json.loads(json.dumps(raw)), project / "experiments" / "tables" / "t.yaml")
        read = table.read(project, "t")
        return read, table.plan(project, "t", read, assignments)

    return build


@pytest.fixture
def work(project: Path, jobs: Jobs) -> Callable[..., table.Summary]:
    """`work(stub, *assignments)`: complete the table."""

    def complete(stub: Stub, *assignments: str) -> table.Summary:
        return table.complete(jobs(*assignments)[1], Ledger(project, "t"), "t", stub)

    return complete


@pytest.fixture
def new_stub() -> type[Stub]:
    """`new_stub(fails=…, dies=…)`: the names of the runs that end so."""
    return Stub


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """`entry(name, nme, **more)`: a line of the ledger."""

    def build(name: str, nme: float | None = 4.0, **more: Any) -> Entry:
        scores = {"nme": nme, "w1": nme, "floor_nme": 18.0, "floor_w1": 17.0, "images": 330}
        scores |= {"oracle_similarity_nme": 8.0, "oracle_affine_nme": 7.5}
        row, _, run = name.rpartition("-")
        facts = {"row": row, "run": int(run), "version": method.VERSION, "parameters": {}, "finished": 1.0}
        facts |= {"source": "300w", "seconds": 60.0, "threads": 1, "experiment": "e", "weights": "0" * 16}
        return Entry(**facts | {"test": scores, "validation": scores} | more)

    return build
