"""The results table: its data, what is run and what is reused, the ledger, and the Markdown; no DVC, a stub runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from brule import experiments, table
from brule.errors import BruleError
from brule.table.jobs import COMPUTES, code
from brule.table.ledger import Entry, Ledger
from brule.table.running import FailedError, Outcome
from brule.table.writing import insert, spread

ROOT = Path(__file__).parents[1]
ROWS: list[dict[str, Any]] = [
    {"name": "first", "title": "First", "saw": "images", "group": "all", "experiment": "half"},
    {"name": "second", "title": "Second", "saw": "labels", "group": "all", "experiment": "half", "initial": "first"},
    {"name": "real", "title": "Real", "saw": "faces", "group": "other", "experiment": "real"},
]
ROWS[0]["runs"] = [{"seed": 0}, {"seed": 1}]
ROWS[1] |= {"overrides": {"loss.c5": 3}, "runs": [{"seed": seed} for seed in (0, 1, 2)]}
NAMES = ["first-0", "first-1", "second-0", "second-1", "second-2"]


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
        return Outcome({"test": scores, "validation": scores, "alarms": []}, train, f"{name} {parameters}".encode())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "experiments" / "tables").mkdir(parents=True)
    (tmp_path / "experiments" / "half.yaml").write_text("# Half of it\nloss: {c5: 10}\n")
    (tmp_path / "experiments" / "real.yaml").write_text("# Real\ndata: {source: 300w, extra: {source: celeba}}\n")
    for part in COMPUTES:
        path = tmp_path / "src" / "brule" / part / ("" if part.endswith(".py") else "heart.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('"""It computes."""\nx = 1\n')
    return tmp_path


def jobs(
    root: Path, *assignments: str, rows: list[dict[str, Any]] | None = None
) -> tuple[table.Table, list[table.Job]]:
    raw = {"title": "T", "groups": {"all": "All of it", "other": "Other"}, "rows": rows or ROWS[:2]}
    YAML().dump(json.loads(json.dumps(raw)), root / "experiments" / "tables" / "t.yaml")
    read = table.read(root, "t")
    return read, table.plan(root, "t", read, assignments)


def work(root: Path, stub: Stub, *assignments: str, **choice: Any) -> table.Summary:
    return table.complete(table.chosen(jobs(root, *assignments)[1], **choice), Ledger(root, "t"), "t", stub)


def test_a_row_runs_after_the_one_it_starts_from_and_from_its_detector(project: Path) -> None:
    stub = Stub()
    assert not work(project, stub).failed
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


def test_what_is_measured_is_not_run_again_until_something_that_counts_changes(project: Path) -> None:
    def again(*assignments: str) -> list[str]:
        stub = Stub()
        work(project, stub, *assignments)
        return list(stub.runs)

    assert again() == NAMES
    assert again() == []
    assert again("train.threads=1", "tracking.experiment=other", "data.location=/elsewhere") == []
    assert again("loss.c9=7") == NAMES
    heart = project / "src" / "brule" / "maths" / "heart.py"
    heart.write_text("# a comment\n'''Other words.'''\nx  =  1\n")
    assert again("loss.c9=7") == []
    heart.write_text("x = 2\n")
    assert again("loss.c9=7") == NAMES


def test_a_list_of_labels_counts_by_its_content(project: Path) -> None:
    rows = [ROWS[0] | {"runs": [{"prepare.labelled": "names.txt"}]}]
    with pytest.raises(BruleError, match=r"row first: prepare\.labelled: names\.txt cannot be read"):
        jobs(project, rows=rows)
    digests = []
    for text in ("a\n", "b\n", "a\n"):
        (project / "names.txt").write_text(text)
        digests.append(jobs(project, rows=rows)[1][0].digest(None))
    assert digests[0] == digests[2] != digests[1]


def test_after_a_kill_the_rest_is_run(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(project, Stub(dies="second-0"))
    stub = Stub()
    work(project, stub)
    assert list(stub.runs) == ["second-0", "second-1", "second-2"]


def test_a_failure_takes_along_only_what_starts_from_it(project: Path) -> None:
    work(project, Stub())
    summary = work(project, stub := Stub(fails="first-0"), "loss.c9=7")
    assert list(stub.runs) == ["first-0", "first-1", "second-1"]
    assert summary.failed == ["first-0 failed: exit status 7"]
    assert [sentence.split()[0] for sentence in summary.skipped] == ["second-0", "second-2"]


def test_a_detector_that_is_not_here_is_trained_again_only_where_something_starts_from_it(project: Path) -> None:
    work(project, Stub())
    for path in (project / "models" / "t").glob("*.safetensors"):  # as in a fresh clone, which brings the numbers
        path.unlink()
    work(project, stub := Stub())
    assert not stub.runs
    (project / "models" / "t" / "second-1.json").unlink()
    work(project, stub := Stub())
    assert list(stub.runs) == ["first-1", "second-1"]


def test_a_choice_of_rows_and_seeds_brings_what_it_starts_from(project: Path) -> None:
    every = jobs(project)[1]
    assert [job.name for job in table.chosen(every, ["second"], [1])] == ["first-1", "second-1"]
    assert [job.name for job in table.chosen(every, seeds=[2])] == ["first-0", "second-2"]
    with pytest.raises(BruleError, match="--rows third: the table has no such row; it has first, second"):
        table.chosen(every, ["third"])


def test_places_are_asked_for_where_they_are_needed(project: Path) -> None:
    _, every = jobs(project, rows=ROWS)
    assert {job.row.name: job.missing for job in every} == {
        "first": (),
        "second": (),
        "real": ("data.location", "data.extra.location"),
    }
    ledger = Ledger(project, "t")
    with pytest.raises(BruleError, match=r"real-0 needs data\.location; give it: make t LOCATION="):
        table.complete(every, ledger, "t", Stub())
    _, located = jobs(project, "data.location=/x", rows=ROWS)
    assert "data.extra.location" in table.complete(located, ledger, "t", Stub()).skipped[0]
    _, full = jobs(project, "data.location=/x", "data.extra.location=/y", rows=ROWS)
    assert (
        full[0].parameters["data"]["location"] is None
    )  # a run that reads no place shall not be told from others by it
    table.complete(full, ledger, "t", stub := Stub())
    assert stub.runs["real-0"]["data"]["extra"]["location"] == "/y"
    assert table.current(every, ledger.entries()) == {job.name for job in every}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"experiment": "hafl"}, r"row first: .*hafl\.yaml does not exist; did you mean half\?"),
        ({"overrides": {"loss.c77": 1}}, "loss.c77 is not a parameter; did you mean loss.c7?"),
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
def test_what_is_wrong_is_said_in_one_sentence(project: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BruleError, match=sentence) as caught:
        jobs(project, rows=[ROWS[0] | change, {k: v for k, v in ROWS[1].items() if k != "initial"}])
    assert "\n" not in str(caught.value)
    assert "experiments/tables/t.yaml" in str(caught.value)


def entry(name: str, nme: float | None = 4.0, **more: Any) -> Entry:
    scores = {"nme": nme, "w1": nme, "floor_nme": 18.0, "floor_w1": 17.0, "images": 330}
    scores |= {"oracle_similarity_nme": 8.0, "oracle_affine_nme": 7.5}
    words = {"source": "300w", "seconds": 60.0, "threads": 1, "experiment": "e", "weights": "0" * 16}
    return Entry(**{"name": name, "digest": "d", "test": scores, "validation": scores, "finished": 1.0} | words | more)


def test_two_processes_with_two_rows_lose_nothing(project: Path) -> None:
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


def test_the_table_shows_bounds_then_groups_then_what_others_report(project: Path) -> None:
    read, every = jobs(project, rows=ROWS)
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
    assert lines[8] == "| First † | images | 4.50 ± 0.71 (2) | 4.50 ± 0.71 | 4.50 ± 0.71 | 4.5 (1) |"
    second = lines.index("Measured on 330 test images of `synthetic`:")
    assert lines[second + 8] == "| Second ‡ | labels | 3.00 (1) | 3.00 | 3.00 | 1.0 (2) |"
    assert "Not measured yet: `real`." in lines
    assert any("†: measured with other" in line and "‡: a run of this row collapsed" in line for line in lines)
    assert lines[-1] == "| HRNet | all labels | 2.87 | – |"


def test_the_readme_changes_between_its_markers_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    assert not insert(readme, "t", "x")
    for before, after in (
        ("a\n<!-- t -->\nold\n<!-- /t -->\nb <!-- other -->\n", "a\n<!-- t -->\nnew\n<!-- /t -->\nb <!-- other -->\n"),
        ("a\n<!-- t --><!-- /t -->\n", "a\n<!-- t -->\nnew\n<!-- /t -->\n"),
        ("no markers\n", "no markers\n"),
    ):
        readme.write_text(before)
        assert insert(readme, "t", "new\n") == ("<!--" in before)
        assert readme.read_text() == after
    readme.write_text("<!-- t -->\nall the rest\n")
    with pytest.raises(BruleError, match="write both, or neither"):
        insert(readme, "t", "new")


def test_publishing_writes_ledger_page_and_readme(project: Path) -> None:
    read, every = jobs(project)
    ledger = Ledger(project, "t")
    assert table.publish(project, "t", read, every, ledger) == []
    table.complete(every, ledger, "t", Stub())
    (project / "README.md").write_text("<!-- t -->\n<!-- /t -->\n")
    written = table.publish(project, "t", read, every, ledger)
    assert [path.name for path in written] == ["t.json", "t.md", "README.md"]
    page = (project / "results" / "t.md").read_text()
    assert page.startswith("# T\n\nMeasured on 5 test images of `synthetic`:\n")
    assert "| First | images | 1.50 ± 0.71 (2) |" in page
    assert "†" not in page
    assert page.partition("\n\n")[2].strip() in (project / "README.md").read_text()


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
