"""The ledger of the runs: several processes, several clones, one truth."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brule.errors import BruleError
from brule.stages.table.ledger import Entry, Ledger

Entries = Callable[..., Entry]


def test_two_processes_with_two_rows_lose_nothing(project: Path, entry: Entries) -> None:
    one, other = Ledger(project, "t"), Ledger(project, "t")
    one.keep(entry("a-0"), b"a")
    other.keep(entry("b-0"), b"b")
    one.publish()
    other.keep(entry("a-0", 3.0, finished=2.0), b"c")
    other.publish()
    shutil.rmtree(project / "models")  # what git brings to another place
    found = Ledger(project, "t").entries()
    assert {name: run.test["nme"] for name, run in found.items()} == {"a-0": 3.0, "b-0": 4.0}
    Ledger(project, "t").keep(entry("a-0", 9.0, finished=0.5), b"d")
    assert Ledger(project, "t").entries()["a-0"].test["nme"] == 3.0  # the later one counts


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": [{"name": "a-0"}]}', '{"runs": 3}'])
def test_a_damaged_ledger_is_named(project: Path, text: str) -> None:
    (project / "results").mkdir()
    (project / "results" / "t.json").write_text(text)
    with pytest.raises(BruleError, match=r"results/t\.json: "):
        Ledger(project, "t").entries()
