"""A study that workers share, and which of its trials lost their worker.

A killed worker costs at most the trial that it was evaluating: whoever comes later fails that trial, and the search
tries its probe again.
"""

import math
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from brule.errors import BruleError
from brule.method.golden_section import forgive
from brule.stages.storage import Database, Journal, open_storage

T = TypeVar("T")

UNSIGNED = 60
"""Seconds for which a running trial may be without its worker's name; then it has lost its worker, too."""
ATTEMPTS = 5
"""How often a call is made whose connection to a server breaks in the middle of it."""
WORKER = "worker"
"""The user attribute of a trial that holds the name of its worker."""


@dataclass(frozen=True)
class Shared:
    """A study and where it is kept, in the hands of one worker."""

    study: optuna.Study
    storage: Journal | Database
    worker: str = field(default_factory=lambda: secrets.token_hex(8))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one process at a time, of all that share the storage, runs the body of the `with`.

        The first one there settles what the workers must agree on: a study has no way to set only what is not set yet.
        The lock ends with a process that is killed.
        """
        with self.storage.alone():
            yield

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count as a worker, for the body of the `with`. Trials that run while nobody else works are let go."""
        with self.storage.at_work(self.worker, lambda: self.release(everything=True)):
            yield

    def attempt(self, objective: Callable[[optuna.Trial], float | None]) -> None:
        """Evaluate one trial. It is let go where the objective returns None or is interrupted.

        An Exception of the objective fails the trial on its own account, and is passed on. A worker that was held up
        for so long that others have given up its trial loses the value, and goes on. Where a connection breaks, the
        trial is let go unless it has ended, and another one is evaluated. Raises ServerLostError if that does not help.
        """
        self.again(lambda: self._attempt(objective))

    def _attempt(self, objective: Callable[[optuna.Trial], float | None]) -> None:
        begun, ended, raised = list[int](), list[float](), list[BaseException]()

        def evaluate(trial: optuna.Trial) -> float:
            begun.append(trial.number)
            try:
                trial.set_user_attr(WORKER, self.worker)
                value = objective(trial)
            except BaseException as error:
                raised.append(error)
                if not isinstance(error, Exception):
                    forgive(self.study, trial)
                if not isinstance(error, Exception | KeyboardInterrupt):  # after these, Optuna ends the trial itself
                    self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
                raise
            if value is None:
                forgive(self.study, trial)
            ended.append(math.nan if value is None else value)  # Optuna fails a trial whose value is not a number
            return ended[0]

        self.storage.remain()
        self.release()
        try:
            self.study.optimize(evaluate, n_trials=1)
        except BaseException as error:
            first = raised[0] if raised else error
            if isinstance(first, Exception) and self.storage.trouble(first) and begun:
                self._end(begun[0], *ended)
            if raised and not isinstance(first, UpdateFinishedTrialError):
                raise first from None  # Optuna raises another error where the trial has been given up
            if not raised and (not ended or self._state(begun[0]) is TrialState.RUNNING):
                raise

    def _end(self, number: int, value: float = math.nan) -> None:
        """End a trial that Optuna could not end, with its value if it has one; else it is let go."""

        def end() -> None:
            if math.isnan(value):
                self._let_go(number)
            else:
                self.study.tell(number, value, skip_if_finished=True)

        self.again(end)

    def again(self, call: Callable[[], T]) -> T:
        """What the call returns, made again where its connection breaks. Raises ServerLostError in the end."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except Exception as error:
                sentence = self.storage.trouble(error)
                if sentence is None:
                    raise
                if attempt == ATTEMPTS:
                    raise sentence from None
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn a connection's error in the body of the `with` into ServerLostError."""
        try:
            yield
        except Exception as error:
            if sentence := self.storage.trouble(error):
                raise sentence from None
            raise

    def _state(self, number: int) -> TrialState:
        return self.study.get_trials(deepcopy=False)[number].state

    def release(self, everything: bool = False) -> None:
        """Let go of the trials of lost workers, or of every running trial. Several workers may do so at once."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if everything or self._lost(trial):
                self._let_go(trial.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self.study)

    def _let_go(self, number: int) -> None:
        forgive(self.study, self.study.get_trials(deepcopy=False)[number])
        with suppress(UpdateFinishedTrialError):  # another worker was faster
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _lost(self, trial: FrozenTrial) -> bool:
        if WORKER in trial.user_attrs:
            return self.storage.gone(str(trial.user_attrs[WORKER]))
        begun = trial.datetime_start or datetime.now()
        return (datetime.now().astimezone() - begun.astimezone()).total_seconds() > UNSIGNED


def join(url: str, name: str, sampler: BaseSampler, direction: Literal["minimize", "maximize"] = "minimize") -> Shared:
    """The study of that name at `url`, begun where there is none. Raises BruleError where it has another direction."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a search has a display of its own
    storage = open_storage(url)
    how: dict[str, Any] = {"study_name": name, "sampler": sampler, "direction": direction, "load_if_exists": True}
    study = optuna.create_study(storage=storage.optuna, **how)
    if [each.name.lower() for each in study.directions] != [direction]:
        raise BruleError(f"study {name}: it was begun to do other than {direction}; give the new one another name")
    return Shared(study, storage)
