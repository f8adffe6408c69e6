"""What a run costs in arithmetic: counted from the shapes of its matrix products and convolutions, not from clocks.

    PYTHONPATH=src python benchmarks/flops.py       after `dvc repro`: of params.yaml, held against results/run.json

10¹² operations a second are to be compared with a GPU's peak in bfloat16.
"""

import json
from collections import Counter
from dataclasses import replace
from math import ceil, lcm
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from brule import config, terminal
from brule.config import Config, Train
from brule.errors import BruleError
from brule.method.schedule import Moment, Schedule
from brule.method.training import Inputs, Training
from brule.stages.train import read_inputs


class Operations(TorchDispatchMode):
    """`with Operations() as operations:` adds up `operations.total` from torch's own formulas.

    torch's FlopCounterMode also tells modules apart, with hooks that the penalty's second derivative does not allow.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if formula := flop_registry.get(function._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


class Kind(NamedTuple):
    """A kind of iteration: `encoder` is Algorithm 2; `GAN` is Algorithm 1, with those of D, R1 and I_R that are due."""

    name: str
    moment: Moment
    times: float
    """How many iterations of the run are of this kind."""


def flops(config: Config, inputs: Inputs, device: torch.device) -> float:
    """Floating-point operations of all iterations of a run; a multiplication and an addition are two.

    One iteration of each kind runs on networks of its own, so that nothing of the run itself is touched. Validation,
    pictures and whatever is no matrix product or convolution are left out.
    """
    training = Training(config, inputs, device)
    every = (kind for kinds in kinds_of(training.schedule, config.train).values() for kind in kinds)
    return sum(kind.times * counted(training, kind.moment) for kind in every)


def kinds_of(schedule: Schedule, train: Train) -> dict[str, list[Kind]]:
    """By stage."""
    kinds: dict[str, list[Kind]] = {}
    start = 0
    for name, stage in schedule.stages:
        first = schedule.at(start)
        start += stage.iterations
        kinds[name] = []
        if stage.encoder_period:
            moment = replace(first, encoder=True, gan=False, ramp=1.0 if stage.gan_every else 0.0)
            kinds[name].append(Kind("encoder", moment, ceil(stage.iterations / stage.encoder_period)))
        if stage.gan_every:
            kinds[name] += _turns(first, train, ceil(stage.iterations / stage.gan_every))
    return kinds


def _turns(first: Moment, train: Train, turns: int) -> list[Kind]:
    """The kinds of iteration that Algorithm 1 has (with D or not, its penalty, restoration), and how often."""
    plays = train.adversarial_every or 1
    periods = (plays, plays * train.r1_every, train.restore_every)
    period = lcm(*periods)
    kinds = [tuple(turn % every == 0 for every in periods) for turn in range(period)]
    return [
        Kind(
            ", ".join(("GAN", *(part for part, on in zip(("D", "R1", "I_R"), kind, strict=True) if on))),
            replace(first, encoder=False, gan=True, gan_turn=kinds.index(kind)),
            turns * count / period,
        )
        for kind, count in Counter(kinds).items()
    ]


def counted(training: Training, moment: Moment) -> float:
    """The operations of one such iteration, which this runs."""
    operations = Operations()
    with operations:
        training.step(moment)
    return operations.total


def main() -> None:
    parameters = config.read("params.yaml")
    total = flops(parameters, read_inputs(parameters)[0], torch.device("cpu"))
    try:
        seconds = float(json.loads(Path("results/run.json").read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError):
        raise BruleError("results/run.json tells no seconds of training; run dvc repro") from None
    print(f"{total / 1e12:.1f} TFLOP in {seconds:.0f} s: {total / seconds / 1e12:.3f} TFLOP/s")


if __name__ == "__main__":
    terminal.main(main)
