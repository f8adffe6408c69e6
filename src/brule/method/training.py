"""The training loop: who runs when, validation, the best checkpoint, and an exact resume.

An iteration depends on the saved state and on (seed, iteration) alone. Files, MLflow, the terminal: the observer's.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from brule.config import Config
from brule.data.faces import Faces
from brule.data.schemes import Scheme
from brule.maths import metrics
from brule.maths.families import Family
from brule.maths.mirror import mirror_all
from brule.method import bundle
from brule.method.algorithm1 import gan_iteration
from brule.method.algorithm2 import encoder_iteration
from brule.method.batches import Batches
from brule.method.best import Best, Row
from brule.method.checkpoint import Checkpoint
from brule.method.collapse import noted
from brule.method.context import Settings
from brule.method.randomness import derive, generator
from brule.method.schedule import Moment, Schedule
from brule.method.teacher import Calibration
from brule.method.validation import validate


@dataclass(frozen=True)
class Inputs:
    """What a run is allowed to see."""

    encoder: Faces
    """Algorithm 2's images; with landmarks in the semi-supervised and supervised modes only."""
    gan: Faces
    """Algorithm 1's images, never with landmarks."""
    validation: Faces
    scheme: Scheme
    X_b: np.ndarray
    shapes: np.ndarray
    initial: dict[str, torch.Tensor] = field(default_factory=dict)
    """Weights that the encoder starts from; empty: random ones."""
    origin: str | None = None
    """How these weights came about, in words."""


class Observer(Protocol):
    """The world's view of a run."""

    def iteration(self, done: int, moment: Moment, losses: dict[str, float]) -> None:
        """Called whenever losses were averaged."""

    def row(self, row: Row) -> None:
        """A new row of the history."""

    def pictures(self, training: "Training", done: int) -> None:
        """Time for sample grids."""

    def stopping(self) -> bool:
        """The user wants the run to end here: its state is saved at once, to be continued."""

    def saving(self) -> None:
        """A checkpoint is about to be written: what was noted so far must last as well."""


class Training:
    """One run: build it, `restore` it if there is a checkpoint, then `run`."""

    def __init__(self, config: Config, inputs: Inputs, device: torch.device) -> None:
        self.config, self.inputs, self.device = config, inputs, device
        self.schedule = Schedule(config.train)
        torch.manual_seed(derive(config.seed, 0, "initialisation") % 2**63)
        landmarks, size = len(inputs.X_b), config.prepare.image_size
        self.networks = bundle.build(config.model, config.train, landmarks, size, device)
        self.optimisers = bundle.optimisers(self.networks, config.train)
        if inputs.initial:
            for encoder in (self.networks.E, self.networks.E_ema.module):
                encoder.load_state_dict(inputs.initial)
        self.X_b = torch.tensor(inputs.X_b, dtype=torch.float32, device=device)
        flip = inputs.scheme.flip if config.train.flip else None
        shapes = torch.tensor(inputs.shapes, dtype=torch.float32, device=device)
        if flip:  # images are mirrored: so is what they are held against
            shapes = torch.cat((shapes, mirror_all(shapes, torch.tensor(flip, device=device))))
        self.settings = Settings(
            config.model,
            config.loss,
            config.train,
            self.X_b,
            shapes,
            torch.tensor(flip, device=device) if flip and config.train.mirror else None,
            {name: Family(**family.model_dump()) for name, family in config.warp.items()},
        )
        framed = bool(inputs.encoder.index["framed"].any() or inputs.gan.index["framed"].any())
        self.calibration = Calibration(self.X_b, shapes, framed=framed)
        sizes = config.train.batch_size, config.train.gan_batch_size
        self.encoder_batches = Batches(inputs.encoder, flip, sizes[0], config.seed, "encoder", device)
        self.unlabelled_batches = (
            Batches(inputs.gan, flip, config.train.unlabelled, config.seed, "unlabelled", device)
            if config.train.unlabelled and config.train.mode == "semi-supervised"
            else None
        )
        self.gan_batches = Batches(inputs.gan, flip, sizes[1], config.seed, "gan", device)
        self.iteration = 0
        self.images = 0  # seen by either algorithm
        self.history: list[Row] = []
        self.best = Best()
        self.healthy = metrics.monitors(inputs.shapes, inputs.X_b, inputs.scheme.normaliser)
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def run(self, checkpoint: Checkpoint, observer: Observer, carry: dict[str, Any]) -> None:
        """Train to the end of the last stage, or save and return early where the observer is stopping.

        `carry` is saved with the state (the MLflow run's id, seconds so far).
        """
        every = self.config.train
        if self.iteration == 0:
            checkpoint.save(self.state() | {"carry": carry})  # a kill from here on continues the same MLflow run
        while self.iteration < self.schedule.iterations:
            moment = self.schedule.at(self.iteration)
            self.step(moment)
            self.iteration += 1
            last = self.iteration == self.schedule.iterations
            if self.iteration % every.log_every == 0 or last:
                observer.iteration(self.iteration, moment, self._log(moment, observer))
            if self.iteration % every.validate_every == 0 or last:
                self._validate(moment, observer)
            if self.iteration % every.sample_every == 0 or last:
                observer.pictures(self, self.iteration)
            stopping = observer.stopping()
            if self.iteration % every.save_every == 0 or last or stopping:
                observer.saving()
                checkpoint.save(self.state() | {"carry": carry})
            if stopping:
                break

    def step(self, moment: Moment) -> None:
        """One iteration: Algorithm 1 on one batch, then Algorithm 2 on a fresh one, as the schedule says."""
        n, o, s = self.networks, self.optimisers, self.settings
        if moment.gan:
            random = generator(self.config.seed, self.iteration, "gan", self.device)
            batch = self.gan_batches.at(self.iteration)
            self.images += len(batch.I)
            self._add(gan_iteration(n, o, batch, s, moment.gan_turn, random))
        if moment.encoder:
            for group in o.E.param_groups:
                group["lr"] = moment.encoder_rate
            random = generator(self.config.seed, self.iteration, "encoder", self.device)
            batch = self.encoder_batches.at(self.iteration)
            if self.unlabelled_batches is not None:
                batch = batch.joined(self.unlabelled_batches.at(self.iteration))
            self.images += len(batch.I)
            self._add(encoder_iteration(n, o, batch, s, moment.stage, self.calibration, moment.ramp, random))

    def _add(self, parts: dict[str, torch.Tensor]) -> None:
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def _log(self, moment: Moment, observer: Observer) -> dict[str, float]:
        means = {name: float(total) / self._counts[name] for name, total in sorted(self._sums.items())}
        self._sums, self._counts = {}, {}
        self._record({"stage": moment.name, **means, "encoder/rate": moment.encoder_rate}, observer)
        return means

    def _validate(self, moment: Moment, observer: Observer) -> None:
        pair = self.inputs.scheme.normaliser
        row, alarms = validate(
            self.networks.E_ema, self.inputs.validation, self.inputs.X_b, pair, self.healthy, self.device
        )
        self._record({"stage": moment.name, **row, **noted(alarms)}, observer)
        if not row:  # the encoder answers NaN: nothing that could ship
            return
        score, healthy = row.get("validation/w1", -float(self.iteration)), not alarms
        # health first, then the score; without landmarks the latest wins
        if (not healthy, score) < (not self.best.healthy, self.best.score):
            weights = {k: v.detach().cpu().clone() for k, v in self.networks.E_ema.module.state_dict().items()}
            self.best = Best(score, self.iteration, healthy, dict(row), alarms, weights)

    def _record(self, row: Row, observer: Observer) -> None:
        row = {"iteration": self.iteration, **row}
        self.history.append(row)
        observer.row(row)

    # ------------------------------------------------------------------------------------------------- the resume state

    def _modules(self) -> dict[str, Any]:
        return {**vars(self.networks), **{f"optimiser/{k}": v for k, v in vars(self.optimisers).items()}}

    def state(self) -> dict[str, Any]:
        """Everything the next iteration depends on: tensors, numbers and strings only."""
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

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        for name, module in self._modules().items():
            module.load_state_dict(state["modules"][name])
        self.calibration.restore(state["calibration"])
        self.iteration, self.images = state["iteration"], state["images"]
        self.history = state["history"]
        self.best = Best(**state["best"])
        self._sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self._counts = state["counts"]
