"""MLflow, its absence, its late failure, and two processes that meet in an empty folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brule import tracking
from brule.config import Config
from brule.errors import public
from brule.tracking.store import closed, place, reason

mlflow = pytest.importorskip("mlflow")

SOURCE = Path(tracking.__file__).parents[2]
PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_no_password_is_shown() -> None:
    for text, shown in (
        ("https://me:pass@word@host:5000/a@b", "https://host:5000/a@b"),
        ("API request to http://me:secret@host/api failed", "API request to http://host/api failed"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
    ):
        assert public(text) == shown


def test_the_cause_of_a_database_s_error_is_told_without_what_the_library_adds() -> None:
    told = "(raised as a result of Query autoflush)\n(sqlite3.OperationalError) database or disk is full\n[SQL: …]"
    assert reason(ValueError(told)) == "database or disk is full" and reason(KeyError()) == "KeyError"
    sentence = closed("sqlite:////p/mlflow.db", ValueError(told))
    assert sentence.endswith("MLflow cannot open its store (database or disk is full); free some space")


def client(root: Path) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def test_a_run_keeps_what_it_takes_to_repeat_it(root: Path, config: Config) -> None:
    """From the folder it runs in, which under `dvc exp run --temp` is not the project's."""
    with tracking.run(config, "train") as run:
        pass
    assert run.id is not None and not client(root).list_artifacts(run.id), "there is nothing to keep"
    for name in ("params.yaml", "dvc.lock"):
        Path(name).write_text("seed: 0\n")
    with tracking.run(config, "evaluate", resume_id=run.id):
        pass
    assert {file.path for file in client(root).list_artifacts(run.id)} == {"params.yaml", "dvc.lock"}
    for name in ("params.yaml", "dvc.lock"):
        Path(name).unlink()


def test_a_run_holds_what_it_was_told(root: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "no-geometry")
    monkeypatch.setenv("DVC_STAGE", "train")
    (root / "card.md").write_text("# card")
    with tracking.run(config, "train", tags={"fingerprint": "abc"}) as run:
        run.params(
            {"loss.c7": 1e5, "data.location": None, "train.mode": "unsupervised", **{f"p{i}": i for i in range(120)}}
        )
        for step in range(3):
            run.metrics({"loss/R_b": 1.5 / (step + 1), "validation/nme": float("nan")}, step)
        run.image(np.zeros((8, 9, 3), np.uint8), "samples", 2)
        run.artifact(root / "card.md", "results")
        run.dataset("synthetic", "0123456789abcdef", {"train": 3000})
    store = client(root)
    assert run.id is not None
    found = store.get_run(run.id)
    assert run.address() == f"http://127.0.0.1:5000/#/experiments/{found.info.experiment_id}/runs/{run.id}"
    assert found.info.status == "FINISHED" and found.info.run_name == "no-geometry"
    assert found.data.params["loss.c7"] == "100000.0" and found.data.params["data.location"] == "null"
    assert len(found.data.params) == 123
    wanted = {"fingerprint": "abc", "dvc.experiment": "no-geometry", "dvc.stage": "train"}
    assert wanted.items() <= found.data.tags.items()
    history = store.get_metric_history(run.id, "loss/R_b")
    assert [(entry.step, entry.value) for entry in history] == [(0, 1.5), (1, 0.75), (2, 0.5)]
    assert [file.path for file in store.list_artifacts(run.id, "results")] == ["results/card.md"]
    assert any(file.path.startswith("images/samples") for file in store.list_artifacts(run.id, "images"))
    assert Path(found.info.artifact_uri.removeprefix("file://")).is_relative_to(root / "mlartifacts")
    data = found.inputs.dataset_inputs[0].dataset
    assert (data.name, data.digest, json.loads(data.profile)) == ("synthetic", "0123456789abcdef", {"train": 3000})


def test_the_first_charts_are_the_error_and_the_losses_that_the_terminal_shows(root: Path, config: Config) -> None:
    """MLflow's page orders charts by their names."""
    columns = ("encoder/H_cycle", "encoder/R_g", "encoder/rate", "encoder/total", "gan/L_rec", "gan/R1")
    row = {"iteration": 20, "stage": "joint", **dict.fromkeys((*columns, "monitors/spread", "validation/nme"), 0.5)}
    with tracking.run(config, "train") as run:
        run.history(row)
    found = client(root).get_run(run.id).data.metrics
    assert sorted(found)[:4] == ["course/error NME", "course/loss L_rec", "course/loss R_g", "course/loss total"]
    assert sorted(found)[4:] == sorted((*columns, "monitors/spread", "validation/nme"))


def test_evaluation_continues_the_run(root: Path, config: Config) -> None:
    with tracking.run(config, "train") as first:
        first.params({"loss.c7": 1e5})
    with tracking.run(config, "evaluate", resume_id=first.id) as second:
        assert client(root).get_run(second.id).info.status == "RUNNING"
        second.params({"loss.c7": 2e5})  # immutable in MLflow: must be left alone, not fail
        second.metrics({"test/nme": 7.5}, 1)
    found = client(root).get_run(first.id)
    assert second.id == first.id and second.resumed
    assert found.data.params == {"loss.c7": "100000.0"} and found.data.metrics == {"test/nme": 7.5}
    assert found.info.status == "FINISHED" and found.data.tags["dvc.stage"] == "train"


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_how_a_run_ended(root: Path, config: Config, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), tracking.run(config, "train") as run:
        run.metrics({"loss/R_b": 1.0}, 0)
        raise error
    found = client(root).get_run(run.id)
    assert found.info.status == status and found.data.metrics == {"loss/R_b": 1.0}


def test_a_run_that_is_not_there_is_begun_anew(root: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with tracking.run(config, "evaluate", resume_id="0" * 32) as run:
        assert run.id != "0" * 32 and not run.resumed
    assert "a new one is started" in capsys.readouterr().err


def test_where_its_run_is_unknown_the_run_of_the_same_weights_goes_on(root: Path, config: Config) -> None:
    def opened(stage: str, weights: str) -> tracking.Run:
        with tracking.run(config, stage, resume_id="0" * 32, tags={"weights": weights}) as run:
            return run

    first, second, third = opened("evaluate", "one"), opened("register", "one"), opened("register", "another")
    assert second.resumed and second.id == first.id and not third.resumed and third.id != first.id


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///mine.db", "sqlite:///{root}/mine.db"),
        ("mlruns", "{root}/mlruns"),
        ("file:mlruns", "file:{root}/mlruns"),
        *((same, same) for same in ("sqlite:////x/a.db", "sqlite:///:memory:", "/x", "http://x:5000", "databricks")),
    ],
)
def test_a_relative_place_is_one_in_the_project(
    root: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert place() == expected.format(root=root.resolve())


def test_a_deleted_experiment_is_one_sentence(root: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    store = client(root)
    store.delete_experiment(store.create_experiment("brule"))
    with tracking.run(config, "train") as run:
        pass
    told = capsys.readouterr().err
    assert run.id is None and told.count("\n") == 1
    assert told.startswith("brule: tracking.experiment: brule was deleted in MLflow; restore it, or set another name")


def test_the_given_store_is_used(
    root: Path, template: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.db"
    shutil.copy(template, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with tracking.run(config, "train") as run:
        pass
    assert mlflow.MlflowClient(f"sqlite:///{other}").get_run(run.id).info.status == "FINISHED"
    assert client(root).get_experiment_by_name("brule") is None


def test_an_unreachable_server_is_one_sentence_and_the_work_goes_on(
    root: Path, config: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with tracking.run(config, "train") as run:
        run.metrics({"loss/R_b": 1.0}, 0)
    told = capfd.readouterr().err
    assert run.id is None and told.count("\n") == 1 and "secret" not in told
    assert told.startswith("brule: http://127.0.0.1:9: MLflow cannot open its store") and "start the server" in told


def test_without_mlflow_everything_is_harmless(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with tracking.run(config, "train", resume_id="x") as run:
        run.params({"a": 1}), run.metrics({"b": 2.0}, 0), run.tags({"c": "d"}), run.flush()
        run.image(tmp_path / "none.png", "samples", 0), run.artifact(tmp_path), run.dataset("x", "y", {})
    assert run.id is None and run.address() is None
    assert capsys.readouterr().err.count("MLflow is not installed") == 1


class Store:
    """Stands for MLflow's client: takes batches, or refuses them."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.away = False

    def log_batch(self, id: str, metrics: Any) -> None:
        if self.away:
            raise ConnectionError("gone\nfor lunch")
        self.batches.append(len(metrics))


def test_metrics_are_written_in_batches() -> None:
    store = Store()
    run = tracking.Run(store, "id")  # type: ignore[arg-type]
    for step in range(250):
        run.metrics({name: 0.0 for name in "abcdefgh"}, step)
    run.flush()
    assert sum(store.batches) == 2000 and len(store.batches) <= 4 and max(store.batches) <= 1000


def test_a_store_that_goes_away_costs_one_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    run = tracking.Run(store, "id")  # type: ignore[arg-type]
    store.away = True
    for step in range(3):
        run.metrics({"loss": 1.0}, step)
        run.flush()
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "(gone)" in message
    store.away = False
    run.flush()
    assert store.batches == [3], "what could not be written then is written now"


CUT_OFF = """
import os, signal, sys
from brule import tracking
from brule.config import read
config = read(sys.argv[1])
sys.stdin.readline()
with tracking.run(config, "train") as run:
    run.metrics({"loss/R_b": 1.0}, 7)
    run.flush()
    print(run.id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_at_once_on_an_empty_folder_and_both_killed(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both make the store; SIGKILL leaves their runs RUNNING; one is continued."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    both = [subprocess.Popen([sys.executable, "-c", CUT_OFF, str(PARAMS)], **pipes, cwd=tmp_path) for _ in range(2)]  # type: ignore[call-overload]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [-9, -9], answers
    assert [errors for _, errors in answers] == ["", ""], "a first use is silent"
    ids = [out.strip() for out, _ in answers]
    store = client(tmp_path)
    assert len(set(ids)) == 2 and len(store.search_experiments(filter_string="name = 'brule'")) == 1
    assert [store.get_run(id).info.status for id in ids] == ["RUNNING"] * 2
    with tracking.run(config, "train", resume_id=ids[0]) as run:
        run.metrics({"loss/R_b": 0.5}, 8)
    assert [entry.step for entry in store.get_metric_history(ids[0], "loss/R_b")] == [7, 8]
    assert store.get_run(ids[0]).info.status == "FINISHED"
