"""The search in the course of a run: what a trial trains on from, what is kept, and an exact resume."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from brule import config
from brule.errors import BruleError
from brule.method.loop import Loop
from brule.method.training import Training
from brule.method.tuning import ranges, sampler
from brule.stages.train import read_inputs

Tiny = Callable[..., config.Config]
NAMES = ("c5", "c6", "c7", "c8", "c9", "c10")


class Nobody:
    """Sees everything, keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.trials: list[dict[str, Any]] = []

    def iteration(self, *_: object) -> None: ...
    def pictures(self, *_: object) -> None: ...
    def saving(self) -> None: ...

    def stopping(self) -> bool:
        return False

    def row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def trial(self, row: dict[str, Any]) -> None:
        self.trials.append(row)


class Shelf:
    """A checkpoint in memory; raises at the `kill`-th save, after it."""

    def __init__(self, kill: int = 0) -> None:
        self.kill, self.count = kill, 0
        self.kept: dict[str, Any] = {}

    def save(self, state: dict[str, Any]) -> None:
        self.kept, self.count = copy.deepcopy(state), self.count + 1
        if self.count == self.kill:
            raise KeyboardInterrupt


@pytest.fixture
def settings(project: Path, tiny: Tiny) -> Callable[..., config.Config]:
    """A tiny run whose joint stage is searched in; nothing of it is as good as it could be."""

    def build(**tuning: object) -> config.Config:
        stages = {
            "warm": {"iterations": 2, "target": "barycenter", "regularise": False, "warp": "strong"},
            "joint": {"iterations": 4, "gan_every": 1, "target": "teacher", "warp": "strong", "learning_rate": 0.01},
        }
        return tiny(
            stages=stages,
            train={"ramp": 0, "validate_every": 2},
            optimiser={"ema": 0.5},
            machine={"save_every": 1, "log_every": 1},
            tuning={"online": True, "iterations": 2, "tolerance": 0.4, "directions": 2} | tuning,
        )

    return build


def run(
    settings: config.Config, shelf: Shelf | None = None, state: dict[str, Any] | None = None
) -> tuple[Loop, Nobody]:
    loop = Loop(Training(settings, read_inputs(settings)[0], torch.device("cpu")))
    if state:
        loop.restore(copy.deepcopy(state))
    nobody = Nobody()
    loop.run(shelf or Shelf(), nobody, {})  # type: ignore[arg-type]
    return loop, nobody


def weights(loop: Loop) -> dict[str, torch.Tensor]:
    n = loop.training.networks
    return {f"{name}.{key}": v for name in ("E", "G", "D", "S") for key, v in getattr(n, name).state_dict().items()}


@pytest.mark.parametrize("policy", ["origin", "latest"])
def test_killed_at_any_moment_the_search_ends_bit_equal(settings: Callable[..., config.Config], policy: str) -> None:
    parameters = settings(**{"continue": policy})
    whole, seen = run(parameters)
    assert seen.trials
    for kill in (4, 9):
        shelf = Shelf(kill)
        if shelf.kill <= 6 or policy == "origin":
            with pytest.raises(KeyboardInterrupt):
                run(parameters, shelf)
            again, _ = run(parameters, state=shelf.kept)
            assert weights(whole).keys() == weights(again).keys()
            assert all(torch.equal(v, weights(again)[name]) for name, v in weights(whole).items())
            np.testing.assert_equal(again.training.history, whole.training.history)
            assert again.training.settings.loss == whole.training.settings.loss


def test_every_trial_of_a_line_trains_on_from_the_same_state(
    settings: Callable[..., config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: dict[tuple[int, int | None], list[torch.Tensor]] = {}
    set_coefficients = Training.set_coefficients

    def recorded(training: Training, coefficients: dict[str, float]) -> None:
        set_coefficients(training, coefficients)
        tuner = loop.tuner
        assert tuner is not None
        if tuner.trial is not None:
            parameter = next(training.networks.E.parameters()).detach().clone()
            begun.setdefault((training.iteration, tuner.line), []).append(parameter)

    monkeypatch.setattr(Training, "set_coefficients", recorded)
    parameters = settings()
    loop = Loop(Training(parameters, read_inputs(parameters)[0], torch.device("cpu")))
    loop.run(Shelf(), Nobody(), {})  # type: ignore[arg-type]
    assert len(begun) == 2, "the trial of the start, and one line from it, fill the stage"
    assert max(map(len, begun.values())) >= 3, "the incumbent again, and two inner points"
    for states in begun.values():
        assert all(torch.equal(state, states[0]) for state in states)


def test_the_run_goes_on_from_the_best_trial_of_the_line_with_its_coefficients(
    settings: Callable[..., config.Config],
) -> None:
    loop, seen = run(settings())
    last = seen.trials[-1]
    incumbent = next(row for row in seen.trials if row["tuning/trial"] == last["tuning/incumbent"])
    assert loop.training.iteration == 6
    assert loop.training.score() == pytest.approx(incumbent["tuning/score"])
    for name in NAMES:
        assert getattr(loop.training.settings.loss, name) == incumbent[f"tuning/{name}"]
    line = [row for row in seen.trials if row["tuning/trial"] > 0]  # 0 is the start
    assert incumbent["tuning/score"] == min(row["tuning/score"] for row in line)


def test_the_history_has_every_trial_and_the_kept_iterations_once(settings: Callable[..., config.Config]) -> None:
    loop, seen = run(settings())
    history = loop.training.history
    trials = [row for row in history if "tuning/trial" in row]
    assert [row["tuning/trial"] for row in sorted(trials, key=lambda row: row["tuning/trial"])] == list(
        map(float, range(len(seen.trials)))
    )
    logged = [row["iteration"] for row in history if "encoder/rate" in row]
    assert logged == [1, 2, 3, 4, 5, 6]
    assert [row["iteration"] for row in seen.rows if "encoder/rate" in row] == logged, (
        "each is reported once, when it stands"
    )


def test_with_continue_latest_nothing_is_taken_back(settings: Callable[..., config.Config]) -> None:
    loop, seen = run(settings(**{"continue": "latest"}))
    assert [row["iteration"] for row in seen.trials] == [4, 6]
    assert loop.training.iteration == 6


def test_the_score_never_touches_the_test_split(settings: Callable[..., config.Config], project: Path) -> None:
    one, _ = run(settings())
    for path in (project / "data/crops/test").iterdir():
        path.unlink()
    other, _ = run(settings())
    np.testing.assert_equal(other.training.history, one.training.history)


def test_a_validation_split_without_landmarks_cannot_be_tuned_on(
    settings: Callable[..., config.Config], project: Path
) -> None:
    path = project / "data/crops/validation/landmarks.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    with pytest.raises(BruleError, match="tuning needs landmarks in the validation split"):
        run(settings())


def test_a_coefficient_of_nothing_is_left_out(tiny: Tiny) -> None:
    found = ranges(tiny(loss={"c5": 20, "c8": 0}, tuning={"range": 10}))
    assert "c8" not in found
    assert (found["c5"].low, found["c5"].high, found["c5"].log) == (2, 200, True)
    with pytest.raises(BruleError, match=r"tuning\.coefficients"):
        ranges(tiny(loss={"c8": 0}, tuning={"coefficients": ["c8"]}))


@pytest.mark.parametrize(
    ("stage", "weighing"),
    [
        ({"gan_every": 1}, {"c5", "c6", "c7", "c8", "c9", "c10"}),
        ({}, {"c5", "c6", "c7"}),
        ({"regularise": False}, {"c6"}),
        ({"gan_every": 2, "regularise": False, "target": "barycenter"}, {"c8", "c9", "c10"}),
    ],
)
def test_what_weighs_nothing_in_the_stage_is_left_out(tiny: Tiny, stage: dict[str, Any], weighing: set[str]) -> None:
    assert ranges(tiny(stages={"joint": {"iterations": 1, **stage}})).keys() == weighing


def test_the_search_starts_with_the_coefficients_of_the_loss(tiny: Tiny) -> None:
    parameters = tiny(loss={"c7": 1e5})
    study = optuna.create_study(sampler=sampler(parameters))
    first = study.ask(fixed_distributions=dict(ranges(parameters)))
    assert first.params["c7"] == pytest.approx(1e5)
    assert first.params["c10"] == pytest.approx(parameters.loss.c10)


def test_what_the_parameters_leave_out_is_the_samplers_own(tiny: Tiny) -> None:
    def probe(**tuning: float) -> dict[str, float]:
        parameters = tiny(tuning=tuning)
        study = optuna.create_study(sampler=sampler(parameters))
        for value in (1.0, 1.0):  # the start, and the start again as the line begins
            study.tell(study.ask(fixed_distributions=dict(ranges(parameters))), value)
        return study.ask(fixed_distributions=dict(ranges(parameters))).params

    assert probe() == probe(step=0.5) != probe(step=0.1)


def test_a_line_without_a_finite_answer_ends_the_run_in_a_sentence(
    settings: Callable[..., config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = settings()
    monkeypatch.setattr(Training, "score", lambda training: math.nan)
    with pytest.raises(BruleError, match=r"no trial .* finite answer .* lower stages\.joint\.learning_rate"):
        run(parameters)
