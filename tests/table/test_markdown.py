"""The Markdown of the table, and its place in docs/results.md."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule.errors import BruleError
from brule.stages import table
from brule.stages.table import Entry, Ledger
from brule.stages.table.markdown import insert, spread

Rows = list[dict[str, Any]]
Jobs = Callable[..., tuple[table.Table, list[table.Job]]]
Stubs = Callable[..., Any]
Entries = Callable[..., Entry]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([4.0, 5.0, 6.0], "5.00 ± 1.00 (3)"),
        ([4.0], "4.00 (1)"),
        ([None], "–"),
        ([], "–"),
        ([2, None, 4], "3.00 ± 1.41 (2)"),
    ],
)
def test_mean_and_deviation(values: list[float | None], text: str) -> None:
    assert spread(values, counted=True) == text
    assert spread(values) == text.partition(" (")[0]


def test_the_table_shows_bounds_then_groups_then_what_others_report(rows: Rows, jobs: Jobs, entry: Entries) -> None:
    read, every = jobs(rows=rows)
    read = read.model_copy(
        update={
            "splits": {"easy": "easy, 554", "full": "full, 689"},
            "anchors": (table.Anchor(title="HRNet", saw="all labels", nme={"easy": 2.87}),),
        }
    )
    entries = {f"first-{k}": entry(f"first-{k}", nme, seconds=60.0 * nme) for k, nme in ((0, 4.0), (1, 5.0))}
    entries["second-0"] = entry("second-0", 3.0, alarms=["spread is low"], source="synthetic", threads=2)
    lines = table.render(read, every, entries, fresh={"first-0", "second-0"}).splitlines()
    assert lines[0] == "Measured on 330 test images of `300w`:"
    assert lines[4].startswith(
        "| floor: the barycenter everywhere | nothing of the image | 18.00 | 17.00 | 18.00 | – |"
    )
    assert lines[6].endswith("| 7.50 | – | 7.50 | – |")
    assert lines[7] == "| *All of it* |  |  |  |  |  |"
    assert lines[8] == "| First | images | 4.00 (1) | 4.00 | 4.00 | 4.0 (1) |"  # the present state alone
    second = lines.index("Measured on 330 test images of `synthetic`:")
    assert lines[second + 8] == "| Second ‡ | labels | 3.00 (1) | 3.00 | 3.00 | 1.0 (2) |"
    assert lines[9:11] == ["| *Other* |  |  |  |  |  |", "| Real | faces | – | – | – | – |"], (
        "not measured, of this source"
    )
    assert len([line for line in lines if line.startswith("| Real")]) == 1
    assert not [line for line in lines if "Not measured" in line]
    assert any("‡: a run of this row collapsed" in line and "†" not in line for line in lines)
    assert lines[-1] == "| HRNet | all labels | 2.87 | – |"
    before = table.render(read, every, entries, fresh={"second-0"}).splitlines()
    assert before[8] == "| First † | images | 4.50 ± 0.71 (2) | 4.50 ± 0.71 | 4.50 ± 0.71 | 4.5 (1) |"
    assert any("†: measured with other" in line for line in before)
    assert "Not measured yet, on other images: `real`." in table.render(
        read, every, {"second-0": entries["second-0"]}, fresh={"second-0"}
    )


def test_the_document_changes_between_its_markers_alone(tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    assert not insert(document, "t", "x")
    for before, after in (
        ("a\n<!-- t -->\nold\n<!-- /t -->\nb <!-- other -->\n", "a\n<!-- t -->\nnew\n<!-- /t -->\nb <!-- other -->\n"),
        ("a\n<!-- t --><!-- /t -->\n", "a\n<!-- t -->\nnew\n<!-- /t -->\n"),
        ("no markers\n", "no markers\n"),
    ):
        document.write_text(before)
        assert insert(document, "t", "new\n") == ("<!--" in before)
        assert document.read_text() == after
    document.write_text("<!-- t -->\nall the rest\n")
    with pytest.raises(BruleError, match="write both, or neither"):
        insert(document, "t", "new")


def test_publishing_writes_ledger_page_and_document(project: Path, jobs: Jobs, new_stub: Stubs) -> None:
    read, every = jobs()
    ledger = Ledger(project, "t")
    assert table.publish(project, "t", read, every, ledger) == []
    table.complete(every, ledger, "t", new_stub())
    for name in ("README.md", "docs/results.md"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("<!-- t -->\n<!-- /t -->\n")
    written = table.publish(project, "t", read, every, ledger)
    assert [path.name for path in written] == ["t.json", "t.md", "results.md"]
    page = (project / "results" / "t.md").read_text()
    assert page.startswith("# T\n\nMeasured on 5 test images of `synthetic`:\n")
    assert "| First | images | 1.50 ± 0.71 (2) |" in page
    assert "†" not in page
    assert page.partition("\n\n")[2].strip() in (project / "docs" / "results.md").read_text()
    assert (project / "README.md").read_text() == "<!-- t -->\n<!-- /t -->\n", "which holds what is chosen by hand"
