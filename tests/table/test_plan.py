"""The table's own file and the runs that it stands for: what is wrong with it is one sentence, and table1 is true."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule.errors import BruleError
from brule.stages import table
from brule.stages.table import Ledger

Rows = list[dict[str, Any]]
Jobs = Callable[..., tuple[table.Table, list[table.Job]]]
Stubs = Callable[..., Any]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"experiment": "hafl"}, r"row first: .*hafl\.yaml does not exist; did you mean half\?"),
        ({"runs": [{"loss.c77": 1}]}, "loss.c77 is not a parameter; did you mean loss.c7?"),
        ({"runs": [{"sed": 1}]}, "row first:.* sed is not a parameter; did you mean seed?"),
        (
            {"initial": "second"},
            "row first: initial is 'second', which is not an earlier row; it is the first",
        ),
        ({"name": "second"}, "two rows are named second"),
        ({"group": "none"}, "row first: group 'none' is not one of all, other"),
        ({"extra": 1}, "row first: extra is not a known key"),
        ({"saw": None}, "row first: saw = None: input should be a valid string"),
        ({"name": "Fi rst"}, "row Fi rst: name = 'Fi rst': string should match"),
        ({"runs": []}, "row first: runs = "),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(change: dict[str, Any], sentence: str, rows: Rows, jobs: Jobs) -> None:
    with pytest.raises(BruleError, match=sentence) as caught:
        jobs(rows=[rows[0] | change, {k: v for k, v in rows[1].items() if k != "initial"}])
    assert "\n" not in str(caught.value)
    assert "experiments/tables/t.yaml" in str(caught.value)


def test_table1_is_consistent_and_its_committed_results_are_current() -> None:
    read = table.read(ROOT, "table1")
    every = table.plan(ROOT, "table1", read, ["data.location=/x", "data.extra.location=/y"])
    assert not [job.name for job in every if job.missing]
    assert {job.row.group for job in every} == set(read.groups)
    for job in every:  # no label is among what an unsupervised row may see, and few are few
        labelled, mode = job.parameters["prepare"]["labelled"], job.parameters["train"]["mode"]
        assert (labelled is not None) == any(f"labels-{n}" in job.row.name for n in (10, 50, 157)), job.name
        assert ("no label" in job.row.saw or "as “unsupervised”" in job.row.saw) == (mode == "unsupervised"), job.name
    entries = table.Ledger(ROOT, "table1").entries()
    assert table.current(every, entries) == set(entries), "and none is stale"
    assert set(entries) >= {job.name for job in every if "fine" not in job.row.group}, "the second half has gaps yet"


def test_what_a_row_sets_holds_for_all_its_runs_unless_a_run_says_otherwise(rows: Rows, jobs: Jobs) -> None:
    row = rows[0] | {"settings": {"loss": {"c6": 7, "c7": 8}, "seed": 5}, "runs": [{}, {"seed": 1, "loss.c7": 9}]}
    found = [(job.parameters["seed"], job.parameters["loss"]) for job in jobs(rows=[row])[1]]
    assert [(seed, loss["c5"], loss["c6"], loss["c7"]) for seed, loss in found] == [(5, 10, 7, 8), (1, 10, 7, 9)]
    common = {"optimiser.clip": 11, "seed": 13}  # the whole table's
    found = [(job.parameters["seed"], job.parameters["optimiser"]) for job in jobs(settings=common, rows=[row])[1]]
    assert [(seed, optimiser["clip"]) for seed, optimiser in found] == [(5, 11), (1, 11)]


def test_a_choice_of_rows_and_seeds_brings_what_it_starts_from(jobs: Jobs) -> None:
    every = jobs()[1]
    assert [job.name for job in table.chosen(every, ["second"], [1])] == ["first-1", "second-1"]
    assert [job.name for job in table.chosen(every, seeds=[2])] == ["first-0", "second-2"]
    with pytest.raises(BruleError, match="--rows third: the table has no such row; its rows are first, second"):
        table.chosen(every, ["third"])


def test_places_are_asked_for_only_by_runs_that_need_them(
    project: Path, rows: Rows, jobs: Jobs, new_stub: Stubs
) -> None:
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
    # a place that a run does not read must not tell it from other runs
    assert full[0].parameters["data"]["location"] is None and "extra" not in full[0].parameters["data"]
    table.complete(full, ledger, "t", stub := new_stub())
    assert stub.runs["real-0"]["data"]["extra"]["location"] == "/y"
    assert table.current(every, ledger.entries()) == {job.name for job in every}


def test_the_row_at_fault_is_named_for_extra_images_without_a_source(rows: Rows, jobs: Jobs) -> None:
    with pytest.raises(BruleError, match=r"row first: .*data\.extra\.source is missing"):
        jobs(rows=[rows[0] | {"runs": [{"data.extra.use": "join"}]}])
