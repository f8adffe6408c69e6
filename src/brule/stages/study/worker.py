"""One worker of a study: ask for coefficients, train a stretch with them, measure, tell; until there are enough."""

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from brule import tracking
from brule.config import Config
from brule.method.golden_section import GoldenSectionSampler
from brule.method.training import Row, State, Training
from brule.method.tuning import ranges, row
from brule.stages.study.marks import asked, let_go, release_lost
from brule.stages.study.snapshots import Snapshots


@dataclass(frozen=True)
class Worker:
    """What it takes to evaluate trials."""

    config: Config
    study: optuna.Study
    search: GoldenSectionSampler
    training: Training
    snapshots: Snapshots

    def work(self, progress: Callable[[], bool]) -> None:
        """Evaluate trials until the study has enough. `progress` is called at every iteration; true: stop at once.

        A trial that is cut short fails, so that its probe is tried again.
        """
        start = copy.deepcopy(self.training.state())
        while self.remaining() > 0:
            release_lost(self.study)
            with asked(self.study, ranges(self.config)) as trial:
                origin = self._origin(trial.number)
                if origin is not None and not self._over(origin, progress):
                    let_go(self.study, trial)  # it was a guess; by now the search may know better
                elif not self._evaluate(trial, start if origin is None else self.snapshots.of(origin), progress):
                    let_go(self.study, trial)
            if progress():
                return

    def remaining(self) -> int:
        """Trials that the study still lacks."""
        return self.config.tuning.trials - len(finished(self.study))

    def _evaluate(self, trial: optuna.Trial, state: State, progress: Callable[[], bool]) -> bool:
        """Train on from `state`, measure and tell; False where `progress` said to stop."""
        training = self.training
        training.restore(copy.deepcopy(state))
        training.weigh(trial.params)
        for _ in range(self.config.tuning.iterations):
            training.step(training.schedule.at(training.iteration))
            if progress():
                return False
        score = training.score()
        with self._run(trial) as run:
            run.params({f"loss.{name}": value for name, value in trial.params.items()})
            run.metrics({**training.means(), "validation/w1": score}, training.iteration)
            with suppress(UpdateFinishedTrialError, ValueError):  # held up for so long that another has taken over
                trial.set_user_attr("iteration", training.iteration)
                self.snapshots.keep(trial, training.state())
                self.study.tell(trial, score if math.isfinite(score) else math.inf)
        self._prune()
        return True

    def _origin(self, number: int) -> int | None:
        """The trial whose state this one trains on from, as `tuning.continue` says; None: the trained models."""
        if self.config.tuning.continues == "latest":
            return max((t.number for t in finished(self.study) if t.number < number), default=None)
        return self.search.origin(self.study, self.study.trials[number])

    def _over(self, origin: int, progress: Callable[[], bool]) -> bool:
        """Whether that trial has a state to train on from; if it still runs, wait, and say no."""
        running = False
        while not (state := self.study.trials[origin].state).is_finished():
            running = True
            if progress():
                return False
            time.sleep(0.2)
        return state is TrialState.COMPLETE and not running

    def _run(self, trial: optuna.Trial) -> AbstractContextManager[tracking.Run]:
        parent = self.study.user_attrs.get("mlflow_run_id")  # of `tune`
        tags = {"mlflow.parentRunId": parent} if parent else {}
        return tracking.run(self.config, stage="trial", name=f"trial {trial.number}", tags=tags)

    def _prune(self) -> None:
        """Keep what trials may train on from: the decided path's incumbents, all of the present line, and what the
        running ones began with, though the path may have left it meanwhile."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        begun = {origin for trial in running if (origin := self._origin(trial.number)) is not None}
        if path := self.search.path(self.study):
            last = path[-1]
            present = {step.number for step in path if step.line == last.line}
            newer = {trial.number for trial in finished(self.study) if trial.number > min(present)}
            self.snapshots.prune({step.incumbent for step in path} | present | newer | begun)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have a score."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def rows(study: optuna.Study, search: GoldenSectionSampler) -> list[Row]:
    """The finished trials, as a search within a run writes them into its history."""
    return [
        row(search, study, trial, int(trial.user_attrs["iteration"]))
        for trial in finished(study)
        if "iteration" in trial.user_attrs
    ]
