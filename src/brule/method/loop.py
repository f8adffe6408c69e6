"""The training loop: iterations, what is due between them, an exact resume, and the tuner's say.

The resume state is one file, replaced atomically. All other files, MLflow and the terminal belong to the observer.
"""

import io
import shutil
from typing import Any, Protocol

import torch

from brule.errors import BruleError
from brule.files import root, write_bytes
from brule.method import ranks
from brule.method.schedule import Moment
from brule.method.training import Row, State, Training
from brule.method.tuning import TRIAL, Online


class Checkpoint:
    """`.resume/<fingerprint>/state.pt`: a changed parameter or input has another fingerprint and starts afresh."""

    def __init__(self, fingerprint: str) -> None:
        self.folder = root() / ".resume" / fingerprint
        self.path = self.folder / "state.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file as a whole, or leave the old one. Of several processes, which share a state, one writes."""
        if ranks.rank() > 0:
            return
        buffer = io.BytesIO()  # torch's own writer would turn a full disk into an error of its zip format
        torch.save(state, buffer)
        write_bytes(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """What `save` wrote last, in every process; None on a fresh start."""
        if not ranks.decided(self.path.exists):
            return None
        try:
            saved = ranks.told(self.path.read_bytes)
            state: dict[str, Any] = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever its zip reader or unpickler meets
            raise BruleError(
                f"{self.path}: the saved training state cannot be read ({type(error).__name__}); "
                "delete this file to start the training afresh"
            ) from None
        return state

    def delete(self) -> None:
        """Called once the outputs are written."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Observer(Protocol):
    """The world's view of a run."""

    def iteration(self, done: int, moment: Moment, losses: dict[str, float]) -> None:
        """Called whenever losses were averaged."""

    def row(self, row: Row) -> None:
        """A new row of the history."""

    def trial(self, row: Row) -> None:
        """A trial of the coefficients has ended."""

    def pictures(self, training: Training, done: int) -> None:
        """Time for sample grids."""

    def stopping(self) -> bool:
        """The user wants the run to end here: its state is saved at once, to be continued."""

    def saving(self) -> None:
        """A checkpoint is about to be written: what was noted so far must last as well."""


class Loop:
    """One run: build it, `restore` it if there is a checkpoint, then `run`."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.tuner = Online(training.config) if training.config.tuning.online else None
        self._told = 0  # the iteration up to which the observer knows the history

    def run(self, checkpoint: Checkpoint, observer: Observer, carry: dict[str, Any]) -> None:
        """Train to the end of the last stage, or save and return early where the observer is stopping.

        `carry` is saved with the state (the MLflow run's id, seconds so far).
        """
        training = self.training
        if training.iteration == 0:
            checkpoint.save(self.state() | {"carry": carry})  # a kill from here on continues the same MLflow run
        self._turn(observer)
        while not training.over:
            self._advance(observer)
            self._turn(observer)
            stopping = observer.stopping()
            if training.iteration % training.config.machine.save_every == 0 or training.over or stopping:
                observer.saving()
                checkpoint.save(self.state() | {"carry": carry})
            if stopping:
                break

    def _advance(self, observer: Observer) -> None:
        """One iteration, and what is due after it: the log, the validation, the pictures."""
        training, every = self.training, self.training.config.machine
        moment = training.schedule.at(training.iteration)
        training.step(moment)
        done = training.iteration
        if done % every.log_every == 0 or training.over:
            observer.iteration(done, moment, training.log(moment))
        if done % training.config.train.validate_every == 0 or training.over:
            training.validate(moment)
        if done % every.sample_every == 0 or training.over:
            observer.pictures(training, done)

    def _turn(self, observer: Observer) -> None:
        """Let the tuner change the coefficients, or take the last iterations back; tell what now stands."""
        if self.tuner and (ended := self.tuner.turn(self.training)):
            observer.trial(ended)
        if self.tuner and self.tuner.tentative:
            return
        for row in self.training.history:
            if int(row["iteration"]) > self._told and TRIAL not in row:
                observer.row(row)
        self._told = max(self._told, self.training.iteration)

    def state(self) -> State:
        """Everything the next iteration depends on: tensors, numbers and strings only."""
        return self.training.state() | {"told": self._told, "tuner": self.tuner and self.tuner.state()}

    def restore(self, state: State) -> None:
        """The inverse of `state`."""
        self.training.restore(state)
        self._told = state["told"]
        if self.tuner:
            self.tuner.restore(state["tuner"], self.training)
