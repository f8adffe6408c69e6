"""The loop: exact resume after SIGKILL, the best checkpoint, and what an unsupervised run cannot see."""

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, count
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from brule import config
from brule.data.schemes import Scheme
from brule.detector.gan import Gan
from brule.errors import BruleError
from brule.method.loop import Checkpoint
from brule.method.training import Training
from brule.networks.hourglass import LandmarkEncoder
from brule.stages.train import read_inputs, stopped, train

Tiny = Callable[..., config.Config]


@pytest.fixture(autouse=True)
def _untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """These runs need no MLflow: the import fails, as where it is not installed."""
    monkeypatch.setitem(sys.modules, "mlflow", None)


def alone(settings: dict[str, Any], folder: Path) -> None:
    """In a process of its own: a training that says nothing."""
    os.chdir(folder)
    sys.modules["mlflow"] = None  # type: ignore[assignment]
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    train(config.parse(settings))


def spawn(settings: config.Config) -> BaseProcess:
    arguments = (settings.model_dump(mode="json", by_alias=True), Path.cwd())
    process = get_context("forkserver").Process(target=alone, args=arguments, daemon=True)
    process.start()
    return process


def outputs(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], pd.DataFrame]:
    models = folder / "models"
    history = pd.read_csv(folder / "results" / "history.csv")
    return load_file(models / "detector.safetensors"), load_file(models / "gan.safetensors"), history


def assert_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_killed_twice_and_resumed_the_run_is_bit_equal(project: Path, tiny: Tiny) -> None:
    stages = {
        "warm": {"iterations": 4, "target": "barycenter", "warp": "strong"},
        "joint": {"iterations": 10, "gan_every": 1, "encoder_every": 2, "target": "teacher", "warp": "strong"},
    }
    settings = tiny(stages=stages, machine={"save_every": 1, "sample_every": 4})
    train(settings)
    whole = outputs(project)
    for name in ("models", "results"):
        (project / name).rename(project / f"{name}-whole")

    states = project / ".resume"
    reached = []
    for wanted in (3, 8):
        process = spawn(settings)
        deadline = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < deadline:
            saved = next(states.glob("*/state.pt"), None)
            if saved and torch.load(saved, weights_only=True)["iteration"] >= wanted:
                process.kill()
                break
            time.sleep(0.1)
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it could be killed"
        reached.append(torch.load(next(states.glob("*/state.pt")), weights_only=True)["iteration"])
    shutil.rmtree(project / "results")  # as DVC does before it runs a stage again
    assert 3 <= reached[0] < reached[1] < 14

    last = spawn(settings)
    last.join()
    assert last.exitcode == 0
    again = outputs(project)
    assert_equal(whole[0], again[0])
    assert_equal(whole[1], again[1])
    pd.testing.assert_frame_equal(whole[2], again[2])
    grids = [
        sorted(path.name for path in (project / name / "samples").iterdir()) for name in ("results-whole", "results")
    ]
    assert grids[0] == grids[1] and len(grids[0]) == 4
    assert not list(states.glob("*")), "the resume state outlives its run"


def test_no_clock_decides_how_a_run_computes(project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and precision change how sums are rounded: what a busy moment chose would make another run of a seed."""
    left_open = tiny(machine={"threads": 0, "precision": "auto"})
    summaries, weights = [], []
    for growth in (1.5, 1 / 1.5):  # of the time that seems to pass between two looks at the clock
        moments = accumulate(growth**look for look in count())
        monkeypatch.setattr(time, "perf_counter", lambda moments=moments: next(moments))
        train(left_open)
        summaries.append(json.loads((project / "results/train.json").read_text()))
        weights.append(outputs(project)[0])
    one, two = ({name: told[name] for name in ("threads", "precision")} for told in summaries)
    assert one == two
    assert_equal(*weights)


def test_scrambling_the_pairing_leaves_an_unsupervised_run_bit_equal(project: Path, tiny: Tiny) -> None:
    train(tiny())
    paired = outputs(project)
    path = project / "data/crops/train/landmarks.npy"
    np.save(path, np.load(path)[::-1])
    train(tiny())
    scrambled = outputs(project)
    assert_equal(paired[0], scrambled[0])
    pd.testing.assert_frame_equal(paired[2], scrambled[2])
    # the check can fail: a supervised run does see the pairing
    supervised = tiny(train={"mode": "supervised"})
    train(supervised)
    one = outputs(project)
    np.save(path, np.load(path)[::-1].copy())
    train(supervised)
    assert any(not torch.equal(one[0][name], tensor) for name, tensor in outputs(project)[0].items())


def test_a_changed_parameter_does_not_resume_foreign_weights(project: Path, tiny: Tiny) -> None:
    marks = set()
    for loss in ({"c7": 1e5}, {"c7": 2e5}):
        train(tiny(loss=loss))
        marks.add(json.loads((project / "results/train.json").read_text())["fingerprint"])
    assert len(marks) == 2


def test_the_history_and_the_summary_tell_what_happened(project: Path, tiny: Tiny) -> None:
    train(tiny())
    history = outputs(project)[2]
    assert list(history.iteration.drop_duplicates()) == [2, 4, 6, 8]
    assert {"validation/nme", "validation/w1", "monitors/spread", "encoder/R_g", "gan/L_rec"} <= set(history.columns)
    summary = json.loads((project / "results/train.json").read_text())
    assert summary["best_iteration"] in (4, 8)
    assert summary["validation"]["w1"] == pytest.approx(
        history.set_index("iteration").loc[summary["best_iteration"], "validation/w1"].dropna().iloc[0]
    )
    assert list((project / "results/samples").glob("*.png"))
    assert Gan.load(project / "models/gan.safetensors").iterations == 5, "those of Algorithm 1 alone"


def test_health_comes_before_the_score(project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [({"validation/w1": 1.0}, ["collapsed"]), ({"validation/w1": 9.0}, []), ({"validation/w1": 5.0}, ["x"])]
    )
    monkeypatch.setattr("brule.method.training.validate", lambda *_: next(answers))
    inputs, _ = read_inputs(tiny())
    t = Training(tiny(), inputs, torch.device("cpu"))
    for iteration in (1, 2, 3):
        t.iteration = iteration
        t.validate(t.schedule.at(0))
    assert (t.best.iteration, t.best.score, t.best.healthy) == (2, 9.0, True)


def test_a_stage_of_smaller_images_costs_less_and_is_not_what_ships(
    project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In it the encoder is trained and validated at half the size; the best checkpoint comes from the full size."""
    seen: list[tuple[int, int]] = []
    forward = LandmarkEncoder.forward

    def watched(self: LandmarkEncoder, images: torch.Tensor) -> list[torch.Tensor]:
        answers = forward(self, images)
        seen.append((images.shape[-1], answers[-1].shape[-1]))
        return answers

    monkeypatch.setattr(LandmarkEncoder, "forward", watched)
    stages = {
        "small": {"iterations": 4, "target": "barycenter", "warp": "strong", "image_size": 32},
        "full": {"iterations": 4, "target": "teacher", "warp": "strong"},
    }
    settings = tiny(stages=stages)
    inputs, _ = read_inputs(settings)
    t = Training(settings, inputs, torch.device("cpu"))
    for iteration in range(8):
        moment = t.schedule.at(iteration)
        seen.clear()
        t.step(moment)
        t.validate(moment)
        assert set(seen) == {(32, 8) if iteration < 4 else (64, 16)}
        assert (t.best.iteration == 0) == (iteration < 4)
    assert sum("validation/nme" in row for row in t.history) == 8, "a person sees how the small stage comes on"


def test_an_encoder_that_answers_nan_is_never_the_best(
    project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([({"validation/w1": 9.0}, ["collapsed"]), ({}, ["the encoder answers NaN"])])
    monkeypatch.setattr("brule.method.training.validate", lambda *_: next(answers))
    inputs, _ = read_inputs(tiny())
    t = Training(tiny(), inputs, torch.device("cpu"))
    for iteration in (1, 2):
        t.iteration = iteration
        t.validate(t.schedule.at(0))
    assert (t.best.iteration, t.best.alarms) == (1, ["collapsed"])


def test_three_landmarks_train(project: Path, tiny: Tiny) -> None:
    faces = project / "data/crops"
    for path in [*faces.glob("*/landmarks.npy"), faces / "shapes.npy"]:
        np.save(path, np.load(path)[:, :3])
    np.save(project / "data/barycenter.npy", np.load(project / "data/barycenter.npy")[:3])
    manifest = json.loads((faces / "manifest.json").read_text())
    manifest["scheme"] = Scheme.plain(["a", "b", "c"]).to_json()
    (faces / "manifest.json").write_text(json.dumps(manifest))
    train(tiny())
    assert load_file(project / "models/detector.safetensors")["barycenter"].shape == (3, 2)


def test_a_damaged_resume_state_is_named(project: Path) -> None:
    checkpoint = Checkpoint("abc")
    checkpoint.save({"iteration": 3})
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:100])
    with pytest.raises(BruleError, match=r"state\.pt.*delete this file"):
        checkpoint.load()


def test_a_resume_state_with_code_in_it_is_refused(project: Path) -> None:
    checkpoint = Checkpoint("abc")
    checkpoint.save({})
    torch.save({"evil": Checkpoint}, checkpoint.path)
    with pytest.raises(BruleError, match="delete this file"):
        checkpoint.load()


def test_labels_are_asked_for_where_there_are_none(project: Path, tiny: Tiny) -> None:
    path = project / "data/crops/train/landmarks.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    index = project / "data/crops/train/index.csv"
    pd.read_csv(index).assign(labelled=0).to_csv(index, index=False)
    with pytest.raises(BruleError, match="no training image"):
        read_inputs(tiny(train={"mode": "supervised"}))


class Stubbed:
    """In the place of `validate`: a validation with no alarm, then alarms at every further one."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object) -> tuple[dict[str, float], list[str]]:
        self.calls += 1
        alarms = ["spread is 0.4, below 0.7: the predicted shapes have shrunk; look at train.calibrate, loss.c5"]
        return {"validation/w1": 9.0 - self.calls, "monitors/spread": 0.4}, alarms if self.calls > 1 else []


def test_a_run_that_collapses_late_ships_the_healthy_checkpoint_and_says_what_happened(
    project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("brule.method.training.validate", Stubbed())
    train(tiny(train={"validate_every": 2}))
    told = json.loads((project / "results/train.json").read_text())
    assert told["best_iteration"] == 2
    assert told["alarms"] == []
    assert (told["collapsed"]["iteration"], told["collapsed"]["monitor"], told["collapsed"]["late"]) == (
        4,
        "spread",
        True,
    )
    printed = capsys.readouterr()
    assert (
        "the run collapsed: spread fired at iteration 4 and stands at the end; look at train.calibrate" in printed.out
    )
    assert "healthy checkpoint of iteration 2" in printed.out
    assert "no collapse alarm" not in printed.out
    assert printed.err.count("collapse alarm: spread is 0.4") == 1, "only news are told while it runs"
    history = outputs(project)[2].dropna(subset=["monitors/alarms"])
    assert list(history["monitors/alarms"]) == [0, 1, 1, 1]
    assert history["alarms"].iloc[-1].startswith("spread is 0.4")


def test_a_run_that_was_never_healthy_is_written_and_named_so(
    project: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny())  # eight iterations: real alarms
    told = json.loads((project / "results/train.json").read_text())
    assert told["alarms"]
    assert not told["collapsed"]["late"]
    assert (project / "models/detector.safetensors").exists()
    assert "No checkpoint was healthy" in capsys.readouterr().out


def test_a_second_start_of_a_training_that_runs_costs_it_nothing_and_names_the_process(
    project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, step, refused = tiny(machine={"sample_every": 2}), Training.step, []

    def twice(training: Training, moment: Any) -> None:
        if training.iteration == 3:
            shutil.rmtree("results/samples")  # as DVC does before it starts the second one
            with pytest.raises(BruleError, match=rf"already running, as process {os.getpid()};.* kill {os.getpid()}$"):
                train(settings)
            refused.append(training.iteration)
        step(training, moment)

    monkeypatch.setattr(Training, "step", twice)
    train(settings)
    assert refused == [3]
    assert [path.name for path in sorted(Path("results/samples").iterdir())] == [f"00000{n}.png" for n in (2, 4, 6, 8)]
    whole = outputs(project)
    train(settings)  # the end of a training lets go of the lock
    assert refused == [3, 3]
    assert_equal(whole[0], outputs(project)[0])


def test_a_run_that_is_told_to_stop_saves_itself_and_goes_on_bit_equal(
    project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny(machine={"save_every": 100})
    train(settings)
    whole = outputs(project)
    step, steps = Training.step, []

    def signalled(training: Training, moment: object) -> None:
        step(training, moment)  # type: ignore[arg-type]
        steps.append(moment)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Training, "step", signalled)
    with pytest.raises(SystemExit) as ended:
        train(settings)
    assert ended.value.code == 143
    assert "stopped and saved at iteration 5 of 8; dvc repro goes on" in capsys.readouterr().err
    train(settings)
    assert len(steps) == 8, "the iterations before the stop are not computed again"
    again = outputs(project)
    assert_equal(whole[0], again[0])
    assert_equal(whole[1], again[1])
    pd.testing.assert_frame_equal(whole[2], again[2])


def test_an_experiment_that_is_stopped_names_the_command_that_goes_on_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "algal-dhow")
    assert stopped(5, 8).endswith("; the same dvc exp run, with the same -S, goes on")
    monkeypatch.delenv("DVC_EXP_NAME")
    assert stopped(5, 8).endswith("; dvc repro goes on")


def test_what_mirrored_images_are_held_against_is_its_own_mirror_image(project: Path, tiny: Tiny) -> None:
    inputs, _ = read_inputs(tiny())
    inputs.X_b[:] += np.random.default_rng(0).normal(0, 0.02, inputs.X_b.shape)
    swaps = np.array([1, 0, 2, 4, 3])

    def mirrored(points: torch.Tensor) -> torch.Tensor:
        return torch.stack((1 - points[..., swaps, 0], points[..., swaps, 1]), -1)

    known = Training(tiny(), replace(inputs, scheme=replace(inputs.scheme, flip=tuple(swaps))), torch.device("cpu"))
    torch.testing.assert_close(mirrored(known.X_b), known.X_b)
    assert len(known.settings.shapes) == 2 * len(inputs.shapes)
    unknown = Training(tiny(), inputs, torch.device("cpu"))
    torch.testing.assert_close(unknown.X_b, torch.tensor(inputs.X_b, dtype=torch.float32))


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_pictures_that_cannot_be_written_are_one_sentence_and_the_state_stays(
    project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """An earlier run left pictures, which a new one clears: here, where the folder may no longer be written."""
    (project / "results" / "samples").mkdir(parents=True)

    def refuse(path: Path) -> None:
        raise OSError(code, os.strerror(code), "000001.png")  # as shutil tells it, without the folder

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(BruleError, match=r"^results/samples: (the|no) (disk|filesystem|permission)"):
        train(tiny())
