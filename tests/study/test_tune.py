"""The search from trained models: what it writes, going on after a stop, joining, and what it never opens."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from brule import config
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.method.golden_section import CLAIM
from brule.method.training import Training
from brule.stages import experiments
from brule.stages import train as trainer
from brule.stages import tune as tuning
from brule.stages.study import join
from brule.stages.tune import tune
from brule.stages.worker import Address, Worker

sys.path.insert(0, str(Path(__file__).parent))
import errands

Tiny = Callable[..., config.Config]
ADDRESS = Address("journal:tuning/study.journal", "c5-c10", Path("tuning/snapshots"))


@pytest.fixture(autouse=True)
def _untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)


@pytest.fixture
def settings(project: Path, tiny: Tiny) -> Callable[..., config.Config]:
    """A trained tiny run, and `settings(…)`, the parameters of a search from it."""
    trainer.train(tiny())
    return lambda **tuning: tiny(tuning={"iterations": 1, "directions": 2, "tolerance": 0.4} | tuning)


def test_a_search_ends_with_an_experiment_of_its_coefficients(
    settings: Callable[..., config.Config], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(settings(), ADDRESS, 5)
    table = pd.read_csv("results/tuning/trials.csv")
    assert list(table["tuning/trial"]) == [0, 1, 2, 3, 4]
    scores = table.set_index("tuning/trial")["tuning/score"]
    assert table["tuning/best"].iloc[-1] == scores[table["tuning/incumbent"].iloc[-1]]
    assert Path("results/tuning/search.png").stat().st_size > 5000
    trials = [Detector.load(f"results/tuning/{name}.safetensors").training["trial"] for name in ("first", "best")]
    assert trials == [0, table["tuning/incumbent"].iloc[-1]]
    (project / "params.yaml").write_text(json.dumps(settings().model_dump(mode="json", by_alias=True)))
    wanted = experiments.plan(project, "tuned")
    best = table.set_index("tuning/trial").loc[table["tuning/incumbent"].iloc[-1]]
    for name in ("c5", "c6", "c7", "c8", "c9", "c10"):
        assert wanted["loss"][name] == pytest.approx(best[f"tuning/{name}"], rel=1e-3)
    assert f"dvc exp run -S loss.c5={wanted['loss']['c5']!r}" in capsys.readouterr().out


def test_with_more_trials_the_same_search_goes_on(settings: Callable[..., config.Config], project: Path) -> None:
    tune(settings(), ADDRESS, 3)
    tune(settings(), ADDRESS, 6)
    stepwise = pd.read_csv("results/tuning/trials.csv")
    shutil.rmtree(project / "tuning")
    tune(settings(), ADDRESS, 6)
    pd.testing.assert_frame_equal(pd.read_csv("results/tuning/trials.csv"), stepwise)


def test_an_interrupted_trial_is_made_again(
    settings: Callable[..., config.Config], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(settings(), ADDRESS, 5)
    whole = pd.read_csv("results/tuning/trials.csv")
    shutil.rmtree(project / "tuning")
    count, score = [0], Training.score

    def cut(training: Training) -> float:
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return score(training)

    monkeypatch.setattr(Training, "score", cut)
    with pytest.raises(KeyboardInterrupt):
        tune(settings(), ADDRESS, 5)
    tune(settings(), ADDRESS, 5)
    again = pd.read_csv("results/tuning/trials.csv")
    assert list(again["tuning/score"]) == list(whole["tuning/score"])
    assert list(again["tuning/trial"]) == [0, 1, 3, 4, 5], "the one that was cut short has failed"


def test_the_test_split_is_never_opened(settings: Callable[..., config.Config], project: Path) -> None:
    shutil.rmtree(project / "data/crops/test")
    tune(settings(), ADDRESS, 2)
    assert len(pd.read_csv("results/tuning/trials.csv")) == 2


def test_training_never_reads_what_a_search_wrote(
    settings: Callable[..., config.Config], project: Path, tiny: Tiny
) -> None:
    tune(settings(), ADDRESS, 4)
    before = json.loads(Path("results/train.json").read_text())["fingerprint"]
    trainer.train(tiny())
    assert json.loads(Path("results/train.json").read_text())["fingerprint"] == before


def test_a_study_of_other_parameters_is_not_gone_on_with(settings: Callable[..., config.Config]) -> None:
    tune(settings(), ADDRESS, 1)
    with pytest.raises(BruleError, match="other parameters, data or models; give this one another --name"):
        tune(settings(iterations=2), ADDRESS, 2)


def test_without_models_there_is_nothing_to_start_from(settings: Callable[..., config.Config], project: Path) -> None:
    (project / "models/gan.safetensors").unlink()
    with pytest.raises(BruleError, match=r"models/gan\.safetensors: there is no such file"):
        tune(settings(), ADDRESS, 1)


def test_a_gan_that_was_never_trained_judges_no_coefficients(project: Path, tiny: Tiny) -> None:
    trainer.train(tiny(stages={"joint": {"iterations": 2}}))
    with pytest.raises(BruleError, match=r"models/gan\.safetensors: was never trained, but stage joint needs it"):
        tune(tiny(), ADDRESS, 1)


def test_a_stage_of_smaller_images_cannot_be_searched(settings: Callable[..., config.Config]) -> None:
    small = settings().model_copy(
        update={"stages": {"joint": settings().stages["joint"].model_copy(update={"image_size": 32})}}
    )
    with pytest.raises(BruleError, match=r"tuning\.stage: stage joint trains on images of 32 pixels, but scores are"):
        tune(small, ADDRESS, 1)


def test_snapshots_that_no_line_needs_are_removed(settings: Callable[..., config.Config], project: Path) -> None:
    tune(settings(), ADDRESS, 9)
    kept = [path for path in (project / "tuning/snapshots").iterdir() if path.is_file()]
    assert 0 < len(kept) < 9
    assert all("modules" in torch.load(path, weights_only=True) for path in kept)


def test_what_a_running_trial_began_with_is_kept(tiny: Tiny, tmp_path: Path) -> None:
    search = errands.sampler()
    shared = join(f"journal:{tmp_path / 'tuning.journal'}", "search", search)
    errands.evaluate(shared, search, 30)
    kept = list[set[int]]()
    worker = Worker(tiny(), shared, search, SimpleNamespace(), SimpleNamespace(prune=kept.append), 30)  # type: ignore
    worker._prune()
    name = f"{CLAIM}:{shared.study.ask(errands.RANGES).number}"
    passed = min(set(range(30)) - kept[0])  # a trial that was an incumbent in another worker's eyes
    shared.study.set_user_attr(name, shared.study.user_attrs[name] | {"origin": passed})
    worker._prune()
    assert kept[1] - kept[0] == {passed}


def test_a_lost_snapshot_is_named(settings: Callable[..., config.Config], project: Path) -> None:
    tune(settings(), ADDRESS, 1)
    shutil.rmtree(project / "tuning/snapshots")
    with pytest.raises(BruleError, match="lacks what trial 0 left; give every worker the same --snapshots folder"):
        tune(settings(), ADDRESS, 2)


def test_every_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []

    class Process:
        def __init__(self, target: object, args: tuple[Any, ...]) -> None:
            given.append(args[-1])

        start = terminate = join = kill = lambda self, *seconds: None

    monkeypatch.setattr("multiprocessing.context.SpawnContext.Process", Process)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    parameters = config.read(Path(__file__).parents[2] / "params.yaml")
    with tuning._helpers(parameters, ADDRESS, trials=1, workers=4):
        assert [own["CUDA_VISIBLE_DEVICES"] for own in given] == ["3", "5", "3"], "the first has the first"
    seen = list[str]()
    monkeypatch.setattr(Worker, "join", lambda *args: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tuning._help_out(parameters, ADDRESS, 1, 4, 0, given[0])
    assert seen == ["3"], "before anything of CUDA is touched"
