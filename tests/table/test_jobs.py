"""From rows to runs: what their digests see, what a choice brings along, which places a run needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule.errors import BruleError
from brule.stages import table
from brule.stages.table.ledger import Ledger

Rows = list[dict[str, Any]]
Jobs = Callable[..., tuple[table.Table, list[table.Job]]]
Stubs = Callable[..., Any]


def test_a_list_of_labels_counts_by_its_content(project: Path, rows: Rows, jobs: Jobs) -> None:
    rows = [rows[0] | {"runs": [{"prepare.labelled": "names.txt"}]}]
    with pytest.raises(BruleError, match=r"row first: prepare\.labelled: names\.txt cannot be read"):
        jobs(rows=rows)
    digests = []
    for text in ("a\n", "b\n", "a\n"):
        (project / "names.txt").write_text(text)
        digests.append(jobs(rows=rows)[1][0].digest(None))
    assert digests[0] == digests[2] != digests[1]


def test_a_choice_of_rows_and_seeds_brings_what_it_starts_from(jobs: Jobs) -> None:
    every = jobs()[1]
    assert [job.name for job in table.chosen(every, ["second"], [1])] == ["first-1", "second-1"]
    assert [job.name for job in table.chosen(every, seeds=[2])] == ["first-0", "second-2"]
    with pytest.raises(BruleError, match="--rows third: the table has no such row; it has first, second"):
        table.chosen(every, ["third"])


def test_places_are_asked_for_where_they_are_needed(project: Path, rows: Rows, jobs: Jobs, new_stub: Stubs) -> None:
    _, every = jobs(rows=rows)
    assert {job.row.name: job.missing for job in every} == {
        "first": (),
        "second": (),
        "real": ("data.location", "data.extra.location"),
    }
    ledger = Ledger(project, "t")
    with pytest.raises(BruleError, match=r"real-0 needs data\.location; give it: make t LOCATION="):
        table.complete(every, ledger, "t", new_stub())
    _, located = jobs("data.location=/x", rows=rows)
    assert "data.extra.location" in table.complete(located, ledger, "t", new_stub()).skipped[0]
    _, full = jobs("data.location=/x", "data.extra.location=/y", rows=rows)
    # a run that reads no place shall not be told from others by it
    assert full[0].parameters["data"]["location"] is None
    table.complete(full, ledger, "t", stub := new_stub())
    assert stub.runs["real-0"]["data"]["extra"]["location"] == "/y"
    assert table.current(every, ledger.entries()) == {job.name for job in every}
