"""What `train` logs to MLflow is what the results table looks for."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brule import config, method, tracking
from brule.files import sha
from brule.stages import table
from brule.stages import train as trainer
from brule.stages.table.plan import counted
from brule.tracking import past

mlflow = pytest.importorskip("mlflow")

Tiny = Callable[..., config.Config]
STAGES = {"warm": {"iterations": 1, "target": "barycenter", "regularise": False, "warp": "strong"}}


def job(settings: config.Config, name: str, initial: str | None = None) -> table.Job:
    row = table.Row(name=name, title=name, experiment="x", saw="images", group="all")
    return table.Job(row, 0, {}, counted(config.flatten(settings)), initial)


def test_the_table_takes_over_what_a_training_has_logged(
    project: Path, template: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(template, project)
    settings = tiny(stages=STAGES)
    trainer.train(settings)
    shutil.move("models/detector.safetensors", "start.safetensors")
    trainer.train(tiny(stages=STAGES, train={"initial": "start.safetensors"}, machine={"log_every": 1}))
    second, first = past.read().finished()
    assert first.tags["version"] == second.tags["version"] == str(method.VERSION)
    assert first.tags["weights"] == sha(Path("start.safetensors").read_bytes()) == second.tags["initial"]
    assert "initial" not in first.tags and "content" not in first.tags
    assert first.name == "default · synthetic · 64 px"
    told = [json.loads(Path(f"results/{name}.json").read_text()) for name in ("run", "train")]
    assert (second.metrics["final/seconds"], second.metrics["final/threads"]) == (
        told[0]["seconds"],
        told[1]["threads"],
    )

    scores = {"test/images": 8.0, "test/nme": 5.0, "evaluation/validation/nme": 6.0}  # as `evaluate` adds them
    runs = [
        replace(run, metrics={**run.metrics, **scores}, tags={**run.tags, "alarms": "[]"}) for run in (second, first)
    ]
    jobs = [job(settings, "first"), job(settings, "second", "first-0"), job(tiny(stages=STAGES, loss={"c7": 3}), "no")]
    ledger = table.Ledger(project, "t")
    taken = table.collect(jobs, ledger, runs)
    assert [sentence.split(" of MLflow")[0] for sentence in taken] == [
        f"first-0: measured as run {first.id}",
        f"second-0: measured as run {second.id}",
    ]
    assert table.current(jobs, ledger.entries()) == {"first-0", "second-0"}
    assert ledger.entries()["first-0"].parameters == jobs[0].counted


def test_a_store_that_breaks_between_two_slices_of_a_training_costs_a_sentence_and_not_the_run_s_id(
    project: Path, template: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Path(shutil.copy(template, project))
    settings, asked = tiny(), []

    def stop_once(run: tracking.Run) -> None:
        if not asked:
            asked.append(run)
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(tracking.Run, "flush", stop_once)
        with pytest.raises(SystemExit):
            trainer.train(settings)
    [begun] = mlflow.MlflowClient(f"sqlite:///{store}").search_runs(["1"])
    store.write_text("no database")
    capfd.readouterr()
    trainer.train(settings)
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("brule: ")]
    assert len(told) == 1 and "file is not a database" in told[0] and "the work goes on" in told[0]
    told_later = json.loads(Path("results/run.json").read_text())
    assert told_later["mlflow_run_id"] == begun.info.run_id, "for the evaluation, once the store is back"
    assert all(Path(f"models/{name}.safetensors").exists() for name in ("detector", "gan"))


def test_the_names_in_a_list_of_labels_are_logged(project: Path, tiny: Tiny) -> None:
    found = set()
    for text in ("a\nb\n", "# again\n\na\nb", "a\nc\n"):
        Path("names.txt").write_text(text)
        found.add(trainer._origins(tiny(prepare={"labelled": "names.txt"}))["labelled"])
    assert len(found) == 2
    Path("names.txt").unlink()
    assert "labelled" not in trainer._origins(tiny(prepare={"labelled": "names.txt"})), "it may be gone by then"
