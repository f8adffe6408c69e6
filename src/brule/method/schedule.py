"""Which stage an iteration belongs to, and what its rates are: a pure function of the parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from brule import config

WARM_UP = 100  # iterations, and never more than a quarter of a stage


@dataclass(frozen=True)
class Moment:
    """One iteration of training, placed in its stage."""

    name: str
    stage: config.Stage
    encoder: bool
    """Algorithm 2 runs."""
    gan: bool
    """Algorithm 1 runs."""
    gan_turn: int
    """How many times Algorithm 1 has run before."""
    encoder_rate: float
    ramp: float
    """Weight in [0, 1] of the encoder's losses that need the GAN."""


class Turn(NamedTuple):
    """What Algorithm 1 does in one of its iterations."""

    plays: bool
    """D plays against G."""
    penalises: bool
    """And R1 counts."""
    restores: bool
    """G and S restore images."""


def turn_of(turn: int, train: config.Train) -> Turn:
    """Turn `turn`, from 0, of Algorithm 1."""
    played, rest = divmod(turn, train.adversarial_every or 1)
    plays = rest == 0
    return Turn(plays, plays and played % train.r1_every == 0, turn % train.restore_every == 0)


class Schedule:
    """The stages of a run, one after the other; `ramp` is `train.ramp`."""

    def __init__(self, stages: Mapping[str, config.Stage], ramp: int) -> None:
        self.spans, self.ramp = dict(stages), ramp
        self.stages = [(name, stage) for name, stage in stages.items() if stage.iterations > 0]
        self.iterations = sum(stage.iterations for _, stage in self.stages)

    def at(self, iteration: int) -> Moment:
        """Where `iteration` (0-based, below `iterations`) stands."""
        start = turns = 0
        for name, stage in self.stages:
            local = iteration - start
            if local < stage.iterations:
                gan_turn = turns + (math.ceil(local / stage.gan_every) if stage.gan_every else 0)
                return Moment(
                    name=name,
                    stage=stage,
                    encoder=stage.encoder_period > 0 and local % stage.encoder_period == 0,
                    gan=bool(stage.gan_every) and local % (stage.gan_every or 1) == 0,
                    gan_turn=gan_turn,
                    encoder_rate=_rate(local, stage),
                    ramp=self._ramp(gan_turn) if stage.gan_every else 0.0,
                )
            start += stage.iterations
            turns += math.ceil(stage.iterations / stage.gan_every) if stage.gan_every else 0
        raise IndexError(f"iteration {iteration} lies behind the last stage")

    def span(self, stage: str) -> tuple[int, int]:
        """The first iteration of a stage, and the first one after it; a stage without iterations has none."""
        first = 0
        for name, other in self.spans.items():
            if name == stage:
                return first, first + other.iterations
            first += other.iterations
        raise KeyError(stage)

    def _ramp(self, gan_turn: int) -> float:
        return min(1.0, gan_turn / self.ramp) if self.ramp else 1.0


def _rate(local: int, stage: config.Stage) -> float:
    """Linear warm-up, then half a cosine down to a twentieth of the stage's rate."""
    warm_up = min(WARM_UP, stage.iterations // 4)
    if local < warm_up:
        return stage.learning_rate * (local + 1) / warm_up
    progress = (local - warm_up) / max(1, stage.iterations - warm_up)
    return stage.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))
