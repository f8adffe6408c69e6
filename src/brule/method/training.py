"""A run: its networks and all else that changes in it, one iteration, validation, and the checkpoint that ships.

An iteration depends on the saved state and on (seed, iteration) alone.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brule.config import Config, Train
from brule.data.prepared import Crops
from brule.data.schemes import Scheme
from brule.errors import BruleError
from brule.maths import metrics, monitors, warps
from brule.maths.family import Family
from brule.maths.images import mirror_all, shrunk, to_tensor
from brule.method import graphs, ranks
from brule.method.algorithm1 import gan_iteration
from brule.method.algorithm2 import encoder_iteration
from brule.method.batches import Batches, derive, generator, resident
from brule.method.collapse import columns
from brule.method.context import Networks, Optimisers, Settings
from brule.method.geometry import Calibration
from brule.method.graphs import Player, plainly
from brule.method.schedule import Moment, Schedule
from brule.networks.hourglass import fuse

Row = dict[str, float | int | str]


@dataclass
class Best:
    """The checkpoint that ships: lowest validation W₁ among those without an alarm."""

    score: float = float("inf")
    iteration: int = 0
    healthy: bool = False
    row: Row = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    encoder: dict[str, torch.Tensor] = field(default_factory=dict)


def validate(
    encoder: nn.Module,
    crops: Crops,
    X_b: NDArray[np.float64],
    pair: tuple[int, int] | None,
    healthy: dict[str, float],
    device: torch.device,
    size: int | None = None,
) -> tuple[dict[str, float], list[str]]:
    """({'validation/nme': %, 'validation/w1': %, 'monitors/…': …}, alarms in words). Errors where there are landmarks.

    healthy: the monitors of the unpaired shapes. An encoder whose answers are not finite has every alarm and no score.
    size: the images are made this small; None: they stay as they are.
    """
    try:
        found, values = monitors.probe(lambda I: encoder(I)[-1], _batches(crops, device, size), X_b, pair)
    except ValueError:  # transport's word for NaN
        return {}, ["encoder is not finite in its answers; look at the learning rates in stages, machine.precision"]
    row = {f"monitors/{name}": value for name, value in values.items()}
    if crops.landmarks is not None:
        known = np.isfinite(crops.landmarks).all((1, 2))
        if known.any():
            truth = crops.landmarks[known].astype(np.float64)
            scale = metrics.normaliser(truth, pair)
            row["validation/nme"] = float(np.mean(metrics.nme(found[known], truth, scale)))
            row["validation/w1"] = float(np.mean(metrics.w1_score(found[known], truth, scale)))
    return row, monitors.alarms(values, healthy)


def _batches(crops: Crops, device: torch.device, size: int | None) -> Iterator[Tensor]:
    for start in range(0, len(crops.images), monitors.BATCH):
        images = to_tensor(crops.images[start : start + monitors.BATCH], device)
        yield images if size is None else shrunk(images, size)


@dataclass(frozen=True)
class Inputs:
    """What a run is allowed to see."""

    encoder: Crops
    """Algorithm 2's images; with landmarks in the semi-supervised and supervised modes only."""
    gan: Crops
    """Algorithm 1's images, never with landmarks."""
    validation: Crops
    scheme: Scheme
    X_b: np.ndarray
    shapes: np.ndarray
    initial: dict[str, torch.Tensor] = field(default_factory=dict)
    """Weights that the encoder starts from; empty: random ones."""
    origin: str | None = None
    """How these weights came about, in words."""


def _shared_evenly(train: Train) -> None:
    for name, size in (
        ("batch_size", train.batch_size),
        ("gan_batch_size", train.gan_batch_size),
        ("unlabelled", train.unlabelled or 0),
    ):
        if size % ranks.count():
            raise BruleError(
                f"train.{name}: {size} images are not shared evenly by {ranks.count()} processes; "
                "change one of the two numbers"
            )


State = dict[str, Any]
"""What a run is saved as."""


class Training:
    """One run: build it, `restore` it if there is a state to go on from; `method.loop` runs it."""

    def __init__(self, config: Config, inputs: Inputs, device: torch.device) -> None:
        self.config, self.inputs, self.device = config, inputs, device
        _shared_evenly(config.train)
        self.schedule = Schedule(config.stages, config.train.ramp)
        torch.manual_seed(derive(config.seed, 0, "initialisation") % 2**63)
        self.networks = Networks.build(config, len(inputs.X_b), device)
        self.optimisers = Optimisers.build(self.networks, config)
        if inputs.initial:
            for encoder in (self.networks.E, self.networks.E_ema.module):
                encoder.load_state_dict(inputs.initial)
        self.X_b = torch.tensor(inputs.X_b, dtype=torch.float32, device=device)
        flip = torch.tensor(inputs.scheme.flip, device=device) if config.augment.flip and inputs.scheme.flip else None
        shapes = torch.tensor(inputs.shapes, dtype=torch.float32, device=device)
        if flip is not None:  # images are mirrored: so is what they are held against
            shapes = torch.cat((shapes, mirror_all(shapes, flip)))
            self.X_b = (self.X_b + mirror_all(self.X_b[None], flip)[0]) / 2
        self.settings = Settings(
            model=config.model,
            loss=config.loss,
            train=config.train,
            augment=config.augment,
            clip=config.optimiser.clip,
            precision=config.machine.precision,
            families=self._families(shapes),
            X_b=self.X_b,
            shapes=shapes,
            permutation=flip if config.train.mirror else None,
        )
        self.calibration = Calibration(self.X_b, shapes, framed=self._framed())
        sizes = config.train.batch_size, config.train.gan_batch_size
        images = resident(inputs.gan.images, device)
        own = images if inputs.encoder is inputs.gan else resident(inputs.encoder.images, device)
        self.encoder_batches = Batches(inputs.encoder, flip, sizes[0], config.seed, "encoder", device, own)
        self.unlabelled_batches = (
            Batches(inputs.gan, flip, config.train.unlabelled, config.seed, "unlabelled", device, images)
            if config.train.unlabelled and config.train.mode == "semi-supervised"
            else None
        )
        self.gan_batches = Batches(inputs.gan, flip, sizes[1], config.seed, "gan", device, images)
        self._generators = {name: generator(config.seed, 0, name, device) for name in ("encoder", "gan")}
        self.player = Player(device) if graphs.used(config.machine, device) else None
        if self.player:
            fuse(self.networks.E, self.networks.E_ema)
        self.iteration = 0
        self.images = 0  # seen by either algorithm
        self.history: list[Row] = []
        self.best = Best()
        self.healthy = monitors.values(inputs.shapes, inputs.X_b, inputs.scheme.normaliser)
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def _framed(self) -> bool:
        """Whether the modes of the teacher's points can be tied: some images are cropped as the shapes are.

        Images with landmarks do not count, unless there are no others. E is right on them whatever becomes of the rest.
        """
        index = self.inputs.gan.index.astype({"framed": bool, "labelled": bool})
        if self.inputs.encoder.landmarks is not None and not index["labelled"].all():
            index = index[~index["labelled"]]
        return bool(index["framed"].any())

    def _families(self, shapes: torch.Tensor) -> Mapping[str, Family]:
        """Those of g. The bounded ones are so only where each image is cropped as the shapes are."""
        if not all(images.index["framed"].all() for images in (self.inputs.encoder, self.inputs.gan)):
            return self.config.warp
        spread = warps.spread(shapes, self.X_b)
        return {name: f.within(spread) if f.bounded else f for name, f in self.config.warp.items()}

    def step(self, moment: Moment) -> None:
        """One iteration: Algorithm 1 on one batch, then Algorithm 2 on a fresh one, as the schedule says."""
        with self.player.beside() if self.player else nullcontext():
            self._step(moment)
        self.iteration += 1

    def _step(self, moment: Moment) -> None:
        n, o, s, play = self.networks, self.optimisers, self.settings, self.player or plainly
        if moment.gan:
            batch = self.gan_batches.at(self.iteration)
            self.images += ranks.count() * len(batch.I)
            self._add(gan_iteration(n, o, batch, s, moment.gan_turn, self._random("gan"), play))
        if moment.encoder:
            o.at_rate(moment.encoder_rate)
            batch = self.encoder_batches.at(self.iteration)
            if self.unlabelled_batches is not None:
                batch = batch.joined(self.unlabelled_batches.at(self.iteration))
            self.images += ranks.count() * len(batch.I)
            batch = batch.resized(moment.stage.image_size)
            random = self._random("encoder")
            self._add(encoder_iteration(n, o, batch, s, moment.stage, self.calibration, moment.ramp, random, play))

    def _random(self, purpose: str) -> torch.Generator:
        """The generator of this purpose at this iteration's seed. It is one object, as a graph keeps its own."""
        return self._generators[purpose].manual_seed(derive(self.config.seed, self.iteration, purpose))

    @property
    def over(self) -> bool:
        """The last stage has ended."""
        return self.iteration == self.schedule.iterations

    def _add(self, parts: dict[str, torch.Tensor]) -> None:
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The means of the losses since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in sorted(self._sums.items())}
        self._sums, self._counts = {}, {}
        return means

    def log(self, moment: Moment) -> dict[str, float]:
        """The means of the losses since the last call, which become a row of the history."""
        means = self.means()
        self._record({"stage": moment.name, **means, "encoder/rate": moment.encoder_rate})
        return means

    def _measured(self, size: int | None = None) -> tuple[dict[str, float], list[str]]:
        E, i = self.networks.E_ema, self.inputs
        row, alarms = ranks.decided(
            lambda: validate(E, i.validation, i.X_b, i.scheme.normaliser, self.healthy, self.device, size)
        )
        return row, alarms

    def validate(self, moment: Moment) -> None:
        """Measure the encoder's average on the validation split: a row of the history, and perhaps the best so far.

        In a stage of smaller images it is measured on these, and is not what could ship.
        """
        row, alarms = self._measured(moment.stage.image_size)
        self._record({"stage": moment.name, **row, **columns(alarms)})
        if not row or moment.stage.image_size:  # without a row the encoder answers NaN
            return
        score, healthy = row.get("validation/w1", -float(self.iteration)), not alarms
        # health first, then the score; without landmarks the latest wins
        if (not healthy, score) < (not self.best.healthy, self.best.score):
            weights = {k: v.detach().cpu().clone() for k, v in self.networks.E_ema.module.state_dict().items()}
            self.best = Best(score, self.iteration, healthy, dict(row), alarms, weights)

    def _record(self, row: Row) -> None:
        self.history.append({"iteration": self.iteration, **row})

    def set_coefficients(self, coefficients: Mapping[str, float]) -> None:
        """From now on with these coefficients of the loss, {"c5": …}."""
        self.settings = replace(self.settings, loss=self.settings.loss.model_copy(update=dict(coefficients)))
        self._forget()

    def set_precision(self, precision: str) -> None:
        """From now on with convolutions in this precision, float32 or bfloat16."""
        self.settings = replace(self.settings, precision=precision)
        self._forget()

    def _forget(self) -> None:
        if self.player:
            self.player.forget()

    def score(self) -> float:
        """W₁ over the eye distance on the validation split, in percent; infinite for an encoder that answers NaN.

        Raises BruleError where that split has no landmarks.
        """
        row, _ = self._measured()
        if row and "validation/w1" not in row:
            raise BruleError("tuning needs landmarks in the validation split, and it has none; set tuning.online=false")
        return row.get("validation/w1", math.inf)

    # ------------------------------------------------------------------------------------------------- the resume state

    def _modules(self) -> dict[str, Any]:
        return {**vars(self.networks), **{f"optimiser/{k}": v for k, v in vars(self.optimisers).items()}}

    def state(self) -> State:
        """Everything the next iteration depends on: tensors, numbers and strings only. Not copied."""
        return {
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "calibration": self.calibration.state(),
            "iteration": self.iteration,
            "images": self.images,
            "history": self.history,
            "best": vars(self.best),
            "sums": self._sums,
            "counts": self._counts,
        }

    def restore(self, state: State) -> None:
        """The inverse of `state`."""
        for name, module in self._modules().items():
            module.load_state_dict(state["modules"][name])
        for optimiser in vars(self.optimisers).values():
            for group in optimiser.param_groups:
                if "capturable" in group:  # the state may be from a machine with a GPU, or without
                    group["capturable"] = self.player is not None
        self.calibration.restore(state["calibration"])
        self.iteration, self.images = state["iteration"], state["images"]
        self.history = state["history"]
        self.best = Best(**state["best"])
        self._sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self._counts = state["counts"]
        self._forget()
