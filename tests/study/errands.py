"""What other processes do for the tests, and the search that they do it in, whose trials take no time."""

import fcntl
import math
import os
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

from brule.method.golden_section import GoldenSectionSampler
from brule.stages import storage
from brule.stages.study import Shared, join

storage.HEARTBEAT, storage.GRACE = 1, 6  # seconds, in the tests and in the processes that they start
Ranges = dict[str, FloatDistribution]
START = {f"c{5 + i}": 10.0**i for i in range(6)}
RANGES = {name: FloatDistribution(value / 100, value * 100, log=True) for name, value in START.items()}


def sampler(remeasure: bool = False) -> GoldenSectionSampler:
    return GoldenSectionSampler(
        seed=3, ranges=RANGES, start=START, step=0.3, tolerance=0.1, directions=3, remeasure=remeasure
    )


def loss(params: dict[str, float]) -> float:
    """Quadratic in the logarithms, with its minimum 20 times above the start."""
    return sum((1 + i) * math.log10(params[name] / START[name] / 20) ** 2 for i, name in enumerate(START))


def undisturbed(steps: int) -> list[tuple[Any, ...]]:
    """The path of one worker that nobody disturbs, whose storage is its memory."""
    search = sampler()
    study = optuna.create_study(sampler=search)
    while len(search.path(study)) < steps:
        study.optimize(lambda trial: loss(suggested(trial)), n_trials=1)
    return path(study, search, steps)


def path(study: optuna.Study, search: GoldenSectionSampler, steps: int) -> list[tuple[Any, ...]]:
    """What does not depend on how often a search was interrupted: all but the numbers of the trials."""
    trials = study.trials
    return [
        (step.line, step.direction, step.t, step.value, step.incumbent_value, trials[step.number].params)
        for step in search.path(study)[:steps]
    ]


def suggested(trial: optuna.Trial, ranges: Ranges = RANGES) -> dict[str, float]:
    return {name: trial.suggest_float(name, d.low, d.high, log=d.log) for name, d in ranges.items()}


def evaluate(
    shared: Shared, search: GoldenSectionSampler, steps: int, hangs: int = -1, parent: Connection | None = None
) -> None:
    """Evaluate until this many steps are decided; at the first trial numbered `hangs` or more, wait to be killed."""

    def objective(trial: optuna.Trial) -> float:
        params = suggested(trial)
        if parent:
            parent.send(trial.number)
            time.sleep(60 if 0 <= hangs <= trial.number else 0.02)
        return loss(params)

    with shared.working():
        while len(search.path(shared.study)) < steps:
            shared.attempt(objective)


def work(parent: Connection, url: str, steps: int, hangs: int = -1) -> None:
    search = sampler()
    evaluate(join(url, "search", search), search, steps, hangs, parent)


def hang(parent: Connection, url: str) -> None:
    """Join a study when told to, begin a trial, say so, and end it when told to."""

    def objective(trial: optuna.Trial) -> float:
        parent.send("begun")
        parent.recv()
        return 1.0

    parent.recv()
    shared = join(url, "search", RandomSampler())
    with shared.working():
        shared.attempt(objective)


def stall(parent: Connection, url: str, search: GoldenSectionSampler, ranges: Ranges) -> None:
    """Begin a trial of a search, say so, and do nothing: to be stopped."""

    def objective(trial: optuna.Trial) -> float:
        parent.send(suggested(trial, ranges))
        time.sleep(600)
        return 0.0

    shared = join(url, "search", search)
    with shared.working():
        shared.attempt(objective)


def ask(parent: Connection, url: str) -> None:
    """Ask for a trial as no worker of ours does, which signs it; say so, and do nothing until told to end."""
    join(url, "search", RandomSampler()).study.ask()
    parent.send("asked")
    parent.recv()


def settle(parent: Connection, url: str) -> None:
    """Join a study when told to, and settle something unless somebody has."""
    parent.recv()
    shared = join(url, "search", RandomSampler())
    with shared.alone():
        if "settled" not in shared.study.user_attrs:
            time.sleep(0.3)  # so that the others would have looked as well
            shared.study.set_user_attr("settled", os.getpid())
        parent.send(shared.study.user_attrs["settled"])


def hold(parent: Connection, file: str) -> None:
    """Hold the lock of a file until told to end."""
    with open(file, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        parent.send("held")
        parent.recv()


def send(errand: Any, *arguments: Any) -> tuple[BaseProcess, Connection]:
    """A process that does one of these errands, and the connection to it.

    It descends from a server that has no threads, which a fork would leave behind.
    """
    context = get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=errand, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours
