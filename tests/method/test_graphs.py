"""CUDA graphs. On a CPU: what is recorded asks the CPU for nothing. On a GPU: what is played is what was called."""

import copy
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from brule import config
from brule.method.graphs import Found, Function, Given, Player
from brule.method.training import Training
from brule.stages.train import read_inputs

Tiny = Callable[..., config.Config]
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal",
    "lift_fresh",
    "_linalg_eigh",
    "_linalg_svd",
    "unique_dim",
}
"""Operators that wait for the GPU, or copy from the CPU."""


class Watched(TorchDispatchMode):
    """Notes the operators on its list, and masks, whose number of rows the CPU would have to know."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        masks = name in ("index", "index_put") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITS or masks:
            self.asked.append(name)
        return function(*args, **(kwargs or {}))


def watched(training: Training, monkeypatch: pytest.MonkeyPatch) -> tuple[set[Hashable], list[str]]:
    """(the keys of what would be recorded, what of it asked the CPU) in a training from start to end."""
    watch, calls = Watched(), Counter[Hashable]()
    # on a CPU alone, Newton's method looks whether every point stands still
    monkeypatch.setattr(torch, "equal", lambda one, other: False)

    def play(key: Hashable, function: Function, inputs: Given, generator: Generator) -> Found:
        calls[key] += 1
        with nullcontext() if key is None or calls[key] == 1 else watch:  # the first call makes what is kept
            return function(*inputs)

    monkeypatch.setattr("brule.method.training.plainly", play)
    while not training.over:
        training.step(training.schedule.at(training.iteration))
    return set(calls) - {None}, watch.asked


STAGES = {
    "warm": {"target": "barycenter", "warp": "strong", "regularise": False},
    "teach": {"target": "teacher", "project": True, "warp": "strong", "regularise": False},
    "settle": {"target": "teacher", "modes": 2, "keep": 0.25, "view": "paper", "warp": "strong", "regularise": False},
    "joint": {"target": "self", "gan_every": 1, "encoder_every": 1, "warp": "paper"},
}
SWITCHES: dict[str, dict[str, Any]] = {
    "unsupervised": {},
    "semi-supervised": {"train": {"mode": "semi-supervised", "unlabelled": 4, "mirror": True}},
    "all terms": {
        "loss": {"two_sided": True, "cycle": 1, "decorrelation": 1, "mismatch": 1, "styles": 10, "fake_gradient": True}
    },
}


def settings(tiny: Tiny, switches: str, iterations: int, **machine: Any) -> config.Config:
    """So many iterations of every stage, and four times as many of the last, where the GAN does all that it can."""
    stages = {name: {"iterations": iterations * (1 + 3 * (name == "joint"))} | STAGES[name] for name in STAGES}
    values = SWITCHES[switches] | {"stages": stages, "machine": machine}
    often = {"ramp": 2, "adversarial_every": 2, "r1_every": 2, "restore_every": 1}
    return tiny(**values | {"train": often | values.get("train", {})})


@pytest.mark.parametrize("switches", SWITCHES)
def test_nothing_recorded_asks_the_cpu(
    project: Path, tiny: Tiny, switches: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(tiny, switches, 2)
    keys, asked = watched(Training(wanted, read_inputs(wanted)[0], torch.device("cpu")), monkeypatch)
    assert {key[0] for key in keys} == {"teacher", "step", "gan"} and len(keys) >= 8 and not asked


def test_the_optimal_coupling_is_never_recorded(project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(stages={"joint": {"iterations": 3} | STAGES["joint"]}, loss={"coupling": "ot"}, train={"ramp": 0})
    keys, _ = watched(Training(settings, read_inputs(settings)[0], torch.device("cpu")), monkeypatch)
    assert {key[0] for key in keys} == {"gan"}


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("switches", SWITCHES)
def test_a_recorded_training_is_the_called_one(project: Path, tiny: Tiny, switches: str, precision: str) -> None:
    """Equal as far as a GPU repeats itself. It is restored on the way, and recorded anew."""
    means = []
    for eager in (True, None):
        wanted = settings(tiny, switches, 8, device="cuda", precision=precision, eager=eager)
        training = Training(wanted, read_inputs(wanted)[0], torch.device("cuda"))
        while not training.over:
            training.step(training.schedule.at(training.iteration))
            if training.iteration in (14, 38):
                training.restore(copy.deepcopy(training.state()))
        means.append(training.means())
    assert training.player is not None
    assert {key[0] for key, _ in training.player._recordings} >= {"step", "gan"}
    assert means[0].keys() == means[1].keys()
    for name, value in means[0].items():
        assert means[1][name] == pytest.approx(value, rel=0.05 if precision == "float32" else 0.2, abs=1e-3), name


@needs_gpu
def test_a_recorded_function_draws_as_its_generator_says() -> None:
    device = torch.device("cuda")
    random, player = torch.Generator(device), Player(device)

    def draw(x: Tensor) -> Found:
        return {"y": x + torch.rand(3, generator=random, device=device)}

    with player.beside():
        for turn in range(8):
            x = torch.full((3,), float(turn), device=device)
            first, second = (player("draw", draw, [x], random.manual_seed(turn))["y"] for _ in range(2))
            assert torch.equal(first, second)
            assert torch.equal(first, x + torch.rand(3, generator=random.manual_seed(turn), device=device))
