"""The arithmetic of a run, counted from one iteration of each kind, against all its iterations counted."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brule import config
from brule.method.training import Training
from brule.stages.train import read_inputs

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from flops import Operations, flops


def test_a_product_and_its_gradients_by_hand() -> None:
    a, b = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7, requires_grad=True)
    with Operations() as operations:
        product = (a @ b).sum()
        assert operations.total == 2 * 3 * 5 * 7
        product.backward()
    assert operations.total == 3 * 2 * 3 * 5 * 7


def test_the_count_is_that_of_the_whole_run(project: Path, tiny: Callable[..., config.Config]) -> None:
    joint = {"iterations": 24, "gan_every": 2, "encoder_every": 3, "target": "teacher", "warp": "strong"}
    stages = {"warm": {"iterations": 2, "target": "barycenter", "regularise": False, "warp": "strong"}, "joint": joint}
    settings = tiny(stages=stages, train={"adversarial_every": 2, "r1_every": 2, "restore_every": 3, "ramp": 0})
    inputs, _ = read_inputs(settings)
    training = Training(settings, inputs, torch.device("cpu"))
    with Operations() as operations:
        for iteration in range(training.schedule.iterations):
            training.step(training.schedule.at(iteration))
    assert operations.total > 1e6
    assert flops(settings, inputs, torch.device("cpu")) == pytest.approx(operations.total, rel=1e-9)
