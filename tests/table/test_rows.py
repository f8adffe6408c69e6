"""The table's own file: what is wrong with it is one sentence, and table1 says what is true."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule.errors import BruleError
from brule.identity import code
from brule.stages import table

Rows = list[dict[str, Any]]
Jobs = Callable[..., tuple[table.Table, list[table.Job]]]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"experiment": "hafl"}, r"row first: .*hafl\.yaml does not exist; did you mean half\?"),
        ({"runs": [{"loss.c77": 1}]}, "loss.c77 is not a parameter; did you mean loss.c7?"),
        ({"runs": [{"sed": 1}]}, "row first:.* sed is not a parameter; did you mean seed?"),
        ({"initial": "second"}, "row first: initial is 'second', which is no earlier row; there are none"),
        ({"name": "second"}, "two rows are named second"),
        ({"group": "none"}, "row first: group 'none' is not among all, other"),
        ({"extra": 1}, "row first: extra is not a key that it knows"),
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


def test_table1_names_what_there_is() -> None:
    read = table.read(ROOT, "table1")
    every = table.plan(ROOT, "table1", read, ["data.location=/x", "data.extra.location=/y"])
    assert not [job.name for job in every if job.missing]
    assert {job.row.group for job in every} == set(read.groups)
    for job in every:  # no label is among what an unsupervised row may see, and few are few
        labelled, mode = job.parameters["prepare"]["labelled"], job.parameters["train"]["mode"]
        assert (labelled is not None) == job.row.name.startswith(("labels-10", "labels-50")), job.name
        assert ("no label" in job.row.saw or "as “unsupervised”" in job.row.saw) == (mode == "unsupervised"), job.name
    assert len(code(ROOT / "src" / "brule")) == 16
