"""The two compositions that are compared, and the iterations that are timed."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from brule import config, machine
from brule.data.prepared import Crops
from brule.data.schemes import Scheme
from brule.method.algorithm1 import gan_iteration
from brule.method.algorithm2 import encoder_iteration
from brule.method.batches import generator
from brule.method.training import Inputs, Training

LANDMARKS, IMAGES, SHAPES = 68, 256, 200


def inputs(size: int) -> Inputs:
    """Random images, and shapes that scatter about points on a spiral, which fills a disc evenly."""
    random = np.random.default_rng(0)
    k = np.arange(LANDMARKS)
    radius, angle = 0.33 * np.sqrt((k + 0.5) / LANDMARKS), k * np.pi * (3 - np.sqrt(5))
    X_b = 0.5 + np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    index = pd.DataFrame({"framed": np.ones(IMAGES, bool), "labelled": False})
    crops = Crops(random.integers(0, 256, (IMAGES, size, size, 3), np.uint8), None, index)
    shapes = (X_b + random.normal(0, 0.01, (SHAPES, LANDMARKS, 2))).astype(np.float32)
    return Inputs(crops, crops, crops, Scheme.of(LANDMARKS), X_b.astype(np.float32), shapes)


def build(parameters: config.Config, device: torch.device, exchanged: bool) -> Training:
    """A fresh training; `exchanged`: float32, contiguous memory, plain optimisers, with the same weights."""
    wanted = parameters.machine
    if exchanged:
        wanted = wanted.model_copy(update={"precision": "float32"})
        parameters = parameters.model_copy(update={"machine": wanted})
    training = Training(parameters, inputs(parameters.prepare.image_size), device)
    training.set_precision(machine.pace(device, torch.get_num_threads(), wanted.precision).precision)
    if exchanged:
        for network in vars(training.networks).values():
            network.to(memory_format=torch.contiguous_format)
        for optimiser in vars(training.optimisers).values():
            # only fused steps can be told to skip
            optimiser.register_step_pre_hook(lambda plain, *_: setattr(plain, "found_inf", None))
            for group in optimiser.param_groups:
                group["fused"] = None
    return training


class Stages(NamedTuple):
    """The stages that are timed: the last one of the encoder alone, and the first one of both algorithms."""

    encoder: config.Stage
    joint: config.Stage


def stages(every: Iterable[config.Stage]) -> Stages:
    learning = [stage for stage in every if stage.encoder_period]
    return Stages(
        [stage for stage in learning if not stage.gan_every][-1],
        next(stage for stage in learning if stage.gan_every),
    )


def iterations(t: Training) -> dict[str, Callable[[int], Any]]:
    """By name: one iteration, given the turn that its random numbers come from."""
    n, o, s, seed = t.networks, t.optimisers, t.settings, t.config.seed

    def encoder(stage: config.Stage, ramp: float) -> Callable[[int], Any]:
        def run(turn: int) -> None:
            random = generator(seed, turn, "encoder", t.device)
            encoder_iteration(n, o, t.encoder_batches.at(turn), s, stage, t.calibration, ramp, random)

        return run

    def gan(penalise: bool) -> Callable[[int], Any]:
        def run(turn: int) -> None:
            random = generator(seed, turn, "gan", t.device)
            gan_iteration(n, o, t.gan_batches.at(turn), s, 0 if penalise else 1, random)

        return run

    chosen = stages(t.config.stages.values())
    return {
        "encoder": encoder(chosen.encoder, 0.0),
        "algorithm 2": encoder(chosen.joint, 1.0),
        "algorithm 1": gan(penalise=False),
        "algorithm 1 with R1": gan(penalise=True),
    }
