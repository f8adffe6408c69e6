"""How long a training will take on this machine: a few real iterations of every kind, times how often each runs."""

import time
from collections import Counter
from typing import NamedTuple

import torch

from brule import machine
from brule.config import Config, Train
from brule.method import graphs
from brule.method.schedule import Moment, turn_of
from brule.method.training import Inputs, Training

PATIENCE = 8.0
"""Seconds after which no further iteration begins, once every kind has had one."""
ROUNDS = graphs.CALLS + 2
"""Iterations of each kind that count at most. On a GPU the last ones are played back, if there is time."""


class Kind(NamedTuple):
    """What decides how long an iteration takes."""

    stage: str
    encoder: bool
    gan: bool
    plays: bool
    penalised: bool
    restores: bool


def kind(moment: Moment, train: Train) -> Kind:
    """The kind of an iteration."""
    turn = turn_of(moment.gan_turn, train)
    return Kind(moment.name, moment.encoder, moment.gan, *(moment.gan and part for part in turn))


def seconds(config: Config, inputs: Inputs, device: torch.device, validated: int) -> float:
    """The seconds that the `train` stage will take, without saving and pictures, which cost little.

    inputs: a few of the crops that it will see. validated: images of the validation split. The stages, the networks and
    the batches are those of `config`; so are the threads and the precision.
    """
    training = Training(config, inputs, device)
    pace = machine.pace(device, config.machine.threads, config.machine.precision)
    machine.keep(pace)
    training.set_precision(pace.precision)
    counts, last = Counter[Kind](), dict[Kind, Moment]()
    for iteration in range(training.schedule.iterations):
        moment = training.schedule.at(iteration)
        each = kind(moment, config.train)
        counts[each] += 1
        last[each] = moment  # the last of each kind, when all losses of the GAN weigh in
    start = time.perf_counter()
    fastest = {each: _timed(training, moment, device) for each, moment in last.items()}
    for number, (each, moment) in enumerate(ROUNDS * list(last.items())):
        if time.perf_counter() - start > PATIENCE:
            break
        again = _timed(training, moment, device)  # the first one allocated, and does not count
        fastest[each] = again if number < len(last) else min(again, fastest[each])
    begun = time.perf_counter()
    training.validate(moment)
    validation = (time.perf_counter() - begun) * validated / max(1, len(inputs.validation))
    times = training.schedule.iterations // config.train.validate_every + 1
    return sum(count * fastest[each] for each, count in counts.items()) + times * validation


def _timed(training: Training, moment: Moment, device: torch.device) -> float:
    start = time.perf_counter()
    training.step(moment)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
