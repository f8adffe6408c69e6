"""What is measured and whose result it is: by parameters, version and start, in the ledger and in MLflow."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule import method
from brule.config import flatten, parse
from brule.errors import BruleError
from brule.stages import table
from brule.stages.table import Entry, Ledger
from brule.stages.table.plan import counted
from brule.stages.table.results import differences
from brule.tracking.past import Past

Rows = list[dict[str, Any]]
Jobs = Callable[..., tuple[table.Table, list[table.Job]]]
Stubs = Callable[..., Any]
Entries = Callable[..., Entry]
Work = Callable[..., table.Summary]

NAMES = {"first-0", "first-1", "second-0", "second-1", "second-2"}
SCORES = {"nme": 4.5, "w1": 4.4, "images": 5.0, "parts/jaw": 7.0}


@pytest.fixture
def ledger(project: Path, work: Work, new_stub: Stubs) -> Ledger:
    """The ledger of the whole table, as a clone gets it: the published file alone."""
    work(new_stub())
    ledger = Ledger(project, "t")
    with ledger.alone():
        ledger.publish()
    shutil.rmtree(ledger.folder)
    return ledger


def stale(jobs: list[table.Job], ledger: Ledger) -> set[str]:
    return {job.name for job in jobs} - table.current(jobs, ledger.entries())


def rewritten(ledger: Ledger, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the base of parameters that all runs of the published file have in common."""
    raw = json.loads(ledger.file.read_text())
    change(raw["base"])
    ledger.file.write_text(json.dumps(raw))


def test_two_processes_with_two_rows_lose_nothing(project: Path, entry: Entries) -> None:
    one, other = Ledger(project, "t"), Ledger(project, "t")
    one.keep(entry("a-0"), b"a")
    other.keep(entry("b-0"), b"b")
    one.publish()
    other.keep(entry("a-0", 3.0, finished=2.0), b"c")
    other.publish()
    shutil.rmtree(project / "models")  # git brings only the published file to another place
    found = Ledger(project, "t").entries()
    assert {name: run.test["nme"] for name, run in found.items()} == {"a-0": 3.0, "b-0": 4.0}
    Ledger(project, "t").keep(entry("a-0", 9.0, finished=0.5), b"d")
    assert Ledger(project, "t").entries()["a-0"].test["nme"] == 3.0  # the later one counts


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"base": {}, "runs": [{"row": "a"}]}', '{"base": {}, "runs": [3]}', '{"runs": []}', '{"base": 3}'],
)
def test_a_damaged_ledger_is_named(project: Path, text: str) -> None:
    (project / "results").mkdir()
    (project / "results" / "t.json").write_text(text)
    with pytest.raises(BruleError, match=r"results/t\.json: "):
        Ledger(project, "t").entries()


def test_the_published_file_says_what_runs_share_once(project: Path, entry: Entries) -> None:
    every = {
        "a-0": {"loss.c7": 1.0, "loss.c8": 2.0, "prepare.labelled": "x.txt"},
        "a-1": {"loss.c7": 1.0, "loss.c8": 3.0},
        "b-0": {"loss.c7": 1.0, "loss.c8": 3.0},
    }
    ledger = Ledger(project, "t")
    for name, parameters in every.items():
        ledger.keep(entry(name, 1 / 3, parameters=parameters), b"")
    kept = ledger.publish()
    raw = json.loads(ledger.file.read_text())
    assert raw["base"] == {"loss.c7": 1.0, "loss.c8": 3.0, "prepare.labelled": None}
    assert [run["parameters"] for run in raw["runs"]] == [{"loss.c8": 2.0, "prepare.labelled": "x.txt"}, {}, {}]
    assert raw["runs"][0]["test"]["nme"] == 0.333333
    assert len(ledger.file.read_text().splitlines()) == 3 + len(raw["base"]) + len(every)
    shutil.rmtree(project / "models")
    assert ledger.entries() == kept and {name: run.parameters for name, run in kept.items()} == every


def test_a_run_is_recorded_with_what_it_was(ledger: Ledger, jobs: Jobs) -> None:
    entries, (_, every) = ledger.entries(), jobs()
    first, second = entries["first-1"], entries["second-2"]
    assert (first.row, first.run, first.version, first.commit) == ("first", 1, method.VERSION, "c0ffee")
    assert (first.initial, second.initial) == (None, entries["first-0"].weights)
    assert [entries[job.name].parameters for job in every] == [job.counted for job in every]
    assert first.parameters["loss.c5"] == 10 and second.parameters["loss.c5"] == 3
    assert not [key for key in first.parameters if key.startswith(("machine.", "tracking.", "evaluate.", "data.loc"))]


def test_a_new_switch_that_is_off_makes_no_row_stale_and_one_that_is_on_makes_its_rows_stale(
    ledger: Ledger, jobs: Jobs, rows: Rows
) -> None:
    assert not {"loss.cycle", "stages.warm.gan_every", "warp.strong.elastic", "data.extra.source"} & set(
        json.loads(ledger.file.read_text())["base"]
    ), "what is off is not known to the results, just as a switch that did not exist yet"
    assert stale(jobs()[1], ledger) == set()
    for on in (
        {"loss.cycle": 3},
        {"stages.warm.gan_every": 1},
        {"warp.strong.elastic": 0.01, "warp.strong.correlation": 0.1},
        {"data.extra": {"source": "folder", "location": "/x", "use": "join"}},
        {"prepare.labelled": "names.txt"},
    ):
        (ledger.file.parents[1] / "names.txt").write_text("a\n")
        changed = [rows[0], rows[1] | {"runs": [run | on for run in rows[1]["runs"]]}]
        assert stale(jobs(rows=changed)[1], ledger) == {"second-0", "second-1", "second-2"}, on
    rewritten(ledger, lambda base: base.update({"loss.cycle": 3.0}))
    assert stale(jobs()[1], ledger) == NAMES, "and one that is off now and was on"


def test_a_parameter_that_only_one_of_the_two_knows_is_not_compared(ledger: Ledger, jobs: Jobs) -> None:
    rewritten(ledger, lambda base: base.pop("loss.c13"))  # as if it were new
    assert stale(jobs()[1], ledger) == set()
    rewritten(ledger, lambda base: base.update({"loss.c99": 1.0, "train.stages.warm.modes": 3}))  # as if removed since
    assert stale(jobs()[1], ledger) == set()


def test_a_raised_version_makes_every_row_stale(ledger: Ledger, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    _, every = jobs()
    monkeypatch.setattr(method, "VERSION", method.VERSION + 1)
    assert stale(every, ledger) == NAMES
    assert differences(every[0], ledger.entries()["first-0"], None) == ["version"]


def test_a_changed_parameter_makes_only_its_rows_stale(ledger: Ledger, jobs: Jobs, rows: Rows) -> None:
    changed = [rows[0], rows[1] | {"runs": [{"seed": seed, "loss.c5": 4 if seed else 3} for seed in (0, 1, 2)]}]
    _, every = jobs(rows=changed)
    assert stale(every, ledger) == {"second-1", "second-2"}
    assert differences(every[3], ledger.entries()["second-1"], ledger.entries()["first-1"].weights) == ["loss.c5"]
    changed = [rows[0] | {"runs": [{"seed": 0}, {"seed": 7}]}, rows[1]]
    assert stale(jobs(rows=changed)[1], ledger) == {"first-1", "second-1"}, "and those that start from them"


def test_where_and_how_a_run_works_changes_nothing(ledger: Ledger, jobs: Jobs) -> None:
    own = ("machine.threads=1", "machine.precision=float32", "machine.device=cpu", "machine.save_every=7")
    own += ("tracking.experiment=other", "tracking.model=null", "evaluate.overlays=3", "evaluate.batch_size=7")
    _, every = jobs(*own, "data.location=/elsewhere", "data.sha256=abc")
    assert every[0].parameters["machine"]["threads"] == 1
    assert stale(every, ledger) == set()
    assert stale(jobs("train.mirror=false")[1], ledger) == NAMES


def test_another_detector_to_start_from_makes_a_row_stale(ledger: Ledger, jobs: Jobs, entry: Entries) -> None:
    again = ledger.entries()["first-1"].model_copy(update={"weights": "other", "finished": 1e12})
    ledger.keep(again)
    assert stale(jobs()[1], ledger) == {"second-1"}


def test_a_stage_that_neither_runs_is_not_compared(ledger: Ledger, jobs: Jobs, rows: Rows) -> None:
    def with_runs(**own: Any) -> list[table.Job]:
        return jobs(rows=[row | {"runs": [run | own for run in row["runs"]]} for row in rows[:2]])[1]

    idle = with_runs(**{"stages.joint.iterations": 0})
    assert stale(idle, ledger) == NAMES, "it ran before"
    rewritten(ledger, lambda base: base.pop("stages.joint.iterations"))
    assert stale(idle, ledger) == set()
    assert stale(with_runs(**{"stages.joint.iterations": 0, "stages.joint.learning_rate": 0.7}), ledger) == set()
    assert stale(with_runs(), ledger) == NAMES, "it runs now"
    rewritten(ledger, lambda base: [base.pop(key) for key in [*base] if key.startswith("stages.joint.")])
    assert stale(idle, ledger) == set(), "as good as absent"
    assert stale(with_runs(), ledger) == NAMES, "a stage that the result does not know runs now"


def test_what_belongs_to_the_gan_is_compared_only_where_one_is_trained(ledger: Ledger, jobs: Jobs, rows: Rows) -> None:
    def with_runs(**own: Any) -> list[table.Job]:
        return jobs(rows=[row | {"runs": [run | own for run in row["runs"]]} for row in rows[:2]])[1]

    alone = {"stages.joint.gan_every": None}
    of_the_gan = {"loss.styles": 7, "loss.c1": 7, "train.adversarial_every": 7, "model.gan.width": 7, "loss.c10": 7}
    for key, value in of_the_gan.items():
        assert stale(with_runs(**{key: value}), ledger) == NAMES, key
    assert stale(with_runs(**alone), ledger) == NAMES, "the results had a GAN"
    rewritten(ledger, lambda base: base.pop("stages.joint.gan_every"))
    assert stale(with_runs(**alone | of_the_gan), ledger) == set()
    assert stale(with_runs(**alone, **{"loss.c12": 7}), ledger) == NAMES, "a coefficient of R_b"
    assert stale(with_runs(**{"stages.joint.gan_every": 2}), ledger) == NAMES


def test_a_list_of_labels_counts_by_the_names_in_it(
    project: Path, rows: Rows, jobs: Jobs, work: Work, new_stub: Stubs
) -> None:
    rows = [rows[0] | {"runs": [{"prepare.labelled": "names.txt"}]}]
    with pytest.raises(BruleError, match=r"row first: prepare\.labelled: names\.txt cannot be read"):
        jobs(rows=rows)
    (project / "names.txt").write_text("a\nb\n")
    ledger = Ledger(project, "t")
    table.complete(jobs(rows=rows)[1], ledger, "t", new_stub())
    for text, own in (("# Two names\na\n\nb\n", set()), ("a\nc\n", {"first-0"}), ("a\nb", set())):
        (project / "names.txt").write_text(text)
        assert stale(jobs(rows=rows)[1], ledger) == own


def test_what_is_off_does_not_count(project: Path, jobs: Jobs) -> None:
    flat = flatten(parse(jobs()[1][0].parameters))
    assert flat["loss.cycle"] is None and "loss.cycle" not in counted(flat)
    assert counted(flat | {"loss.cycle": 2.0})["loss.cycle"] == 2.0
    for value in (True, False):
        assert counted(flat | {"train.calibrate": value})["train.calibrate"] is value, "it has no off state"
    assert counted(flat)["stages.learn.keep"] == 0, "0 is not off where None is"


def past(job: table.Job, weights: str, initial: str | None = None, **more: Any) -> Past:
    """A finished run as `train` and `evaluate` leave it in MLflow."""
    metrics = {
        f"{split}/{name}": value for split in ("test", "evaluation/validation") for name, value in SCORES.items()
    }
    metrics |= {"final/seconds": 90.0, "final/threads": 2.0, "test_but_not/nme": 1.0}
    tags = {"version": str(method.VERSION), "weights": weights, "alarms": '["spread is low"]', "git.commit": "f00"}
    tags |= {} if initial is None else {"initial": initial}
    flat = flatten(parse(job.parameters)) | {"machine.threads": 2}
    params = {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat.items()}
    told = {"id": f"id-{weights}", "name": "elsewhere", "finished": 50.0, "params": params}
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
    assert (found.parameters, found.commit) == (first.counted, "f00")
    assert table.current(every, ledger.entries()) == {"first-0", "second-0"}
    assert ledger.weights(found) is None, "its detector stays where it is"
    assert table.collect(every, ledger, [past(first, "w1")]) == [], "once is enough"
    text = table.render(read, every, ledger.entries(), table.current(every, ledger.entries()))
    assert "| First ‡ | images | 4.50 (1) |" in text and "Measured on 5 test images" in text
    table.complete(every, ledger, "t", stub := new_stub())
    assert "second-0" in stub.runs and "first-0" in stub.runs, "second-2 starts from its detector, which is not here"


def test_a_run_that_is_not_the_jobs_own_is_left(project: Path, jobs: Jobs) -> None:
    _, every = jobs()
    first, second = every[0], every[2]
    ledger = Ledger(project, "t")
    own = past(first, "w1")
    for stranger in (
        past(first, "w1", initial="w0"),  # from other weights
        past(jobs("loss.c9=7")[1][0], "w1"),  # other parameters
        past(jobs("loss.cycle=7")[1][0], "w1"),  # a switch that is off here
        past(first, "w1", tags={**own.tags, "version": str(method.VERSION + 1)}),
        past(first, "w1", tags={k: v for k, v in own.tags.items() if k != "version"}),  # before there were any
        past(first, "w1", tags={k: v for k, v in own.tags.items() if k != "alarms"}),  # not evaluated
        past(first, "w1", metrics={"final/seconds": 1.0}),
        past(first, "w1", metrics={k: v for k, v in own.metrics.items() if k != "final/seconds"}),  # of a failed write
        past(first, "w1", params={}),  # as if MLflow had not answered
        past(second, "w2", initial="w1"),  # while nothing is known of the run it starts from
    ):
        assert table.collect(every, ledger, [stranger]) == []
    assert ledger.entries() == {}
    assert len(table.collect(every, ledger, [own])) == 1


def test_the_ledger_counts_more_unless_its_result_is_older_and_stale(project: Path, jobs: Jobs, entry: Entries) -> None:
    _, every = jobs()
    job, ledger = every[0], Ledger(project, "t")
    ledger.keep(entry("first-0", parameters=dict(job.counted), finished=1.0), b"")
    assert table.collect(every, ledger, [past(job, "w1")]) == []
    ledger.keep(entry("first-0", version=0, finished=99.0), b"")
    assert table.collect(every, ledger, [past(job, "w1")]) == []
    ledger.keep(entry("first-0", version=0, finished=1.0), b"")
    assert len(table.collect(every, ledger, [past(job, "w1", finished=40.0), past(job, "w0", finished=30.0)])) == 1
    assert ledger.entries()["first-0"].weights == "w1", "the newest"


def test_a_store_that_is_not_there_costs_a_sentence(project: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (sentence,) = table.take(jobs()[1], Ledger(project, "t"))
    assert sentence.startswith("nothing is taken from MLflow: sqlite:///")
