"""A worker of the search for c5–c10: it asks for coefficients, trains on with them, and tells the score.

Any number of workers may join a search, stop and resume it.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from brule import files, machine, tracking
from brule.config import Config, fingerprint
from brule.detector import gan
from brule.errors import BruleError, quoted
from brule.method.golden_section import GoldenSectionSampler
from brule.method.training import Row, State, Training
from brule.method.tuning import ranges, row, sampler
from brule.stages.snapshots import Snapshots
from brule.stages.study import Shared, join
from brule.stages.train import SECTIONS, read_inputs

DETECTOR, GAN = Path("models/detector.safetensors"), Path("models/gan.safetensors")


@dataclass(frozen=True)
class Address:
    """Which study, and where it is kept."""

    url: str
    """Of the storage."""
    name: str
    snapshots: Path
    """The folder of what trials left; workers on several machines need a shared one."""


def trained(config: Config, trials: int) -> tuple[Training, list[Path]]:
    """A training at the first iteration of `tuning.stage`, with the trained networks; and the files it was read from.

    The optimisers and the calibration start afresh, with c8, c9, c10 at their full weight. Raises BruleError where the
    models are missing, or do not match params.yaml.
    """
    stages, name = config.stages, config.tuning.stage
    if name not in stages:
        raise BruleError(f"tuning.stage names {quoted(name)}, but `stages` has only {', '.join(stages)}")
    if stages[name].image_size:
        raise BruleError(
            f"tuning.stage: stage {name} trains on images of {stages[name].image_size} pixels, but scores are those of "
            f"{config.prepare.image_size}; name another stage"
        )
    # Long enough for as many lines as there are trials: its rates then hardly fall, as in the middle of a stage.
    stage = stages[name].model_copy(update={"iterations": config.tuning.iterations * (trials + 1)})
    train = config.train.model_copy(update={"ramp": 0, "initial": str(DETECTOR)})
    config = config.model_copy(update={"train": train, "stages": {name: stage}})
    inputs, paths = read_inputs(config)
    training = Training(config, inputs, machine.device(config.machine.device))
    n = training.networks
    turns = gan.restore(GAN, {"generator": n.G, "discriminator": n.D, "style": n.S, "noise_to_style": n.So})
    if stage.gan_every and not turns:
        raise BruleError(
            f"{GAN}: was never trained, but stage {name} needs it; train it, or let tuning.stage name one without "
            "gan_every"
        )
    n.G_ema.module.load_state_dict(n.G.state_dict())
    return training, [*paths, GAN]


def _agree(study: optuna.Study, config: Config, paths: list[Path]) -> None:
    """Refuse other parameters, data or models than those of the study: their scores do not compare."""
    tuning = config.tuning.model_copy(update={"online": False})  # of no concern here
    mark = fingerprint(config.model_copy(update={"tuning": tuning}), SECTIONS, paths)
    if study.user_attrs.get("fingerprint", mark) != mark:
        raise BruleError(
            f"study {study.study_name}: begun with other parameters, data or models; give this one another --name"
        )
    study.set_user_attr("fingerprint", mark)


def _settle(study: optuna.Study, training: Training, workers: int) -> None:
    """Make all workers compute as the first one does: scores then differ by their coefficients alone."""
    pace = study.user_attrs.get("pace")
    if pace is None:
        wanted = training.config.machine
        threads = wanted.threads or machine.share(workers)
        pace = asdict(machine.pace(training.device, threads, wanted.precision))
        study.set_user_attr("pace", pace)
    machine.keep(machine.Pace(**pace))
    training.set_precision(pace["precision"])


@dataclass(frozen=True)
class Worker:
    """Asks for coefficients, trains a stretch with them, measures and tells, until there are enough trials."""

    config: Config
    shared: Shared
    search: GoldenSectionSampler
    training: Training
    snapshots: Snapshots
    trials: int

    @classmethod
    def join(cls, config: Config, address: Address, trials: int, workers: int) -> Self:
        """A worker of the study at this address, one of so many on this machine. Errors as `tune.tune`."""
        training, paths = trained(config, trials)
        search = sampler(config)
        shared = join(address.url, address.name, search)
        with shared.reaching(), shared.alone():
            _agree(shared.study, config, paths)
            _settle(shared.study, training, workers)
        return cls(config, shared, search, training, Snapshots(shared.study, files.root() / address.snapshots), trials)

    def work(self, progress: Callable[[], bool], waits: Callable[[int], None] = lambda number: None) -> None:
        """Evaluate trials until the study has enough. `progress` is called at every iteration; true: stop at once.

        A trial that is cut short is let go, so that its probe is tried again. So is that of a worker which gives no
        sign of life. The others' trials decide nothing before it has ended: what the search waits for when there are
        enough trials, it waits for here, and evaluates it where its worker was lost. `waits` takes the trial's number.
        """
        start = copy.deepcopy(self.training.state())
        with self.shared.working():
            while (awaited := self.awaited()) or self.remaining() > 0:
                if self.remaining() <= 0 and awaited and not awaited.state.is_finished():
                    waits(awaited.number)
                    time.sleep(0.2)
                    self.shared.again(self.shared.release)
                else:
                    self.shared.attempt(lambda trial: self._evaluate(trial, start, progress))
                    self.shared.again(self._prune)
                if progress():
                    return

    def awaited(self) -> FrozenTrial | None:
        """The trial for which the search waits: it still runs, or its worker was lost."""
        return self.shared.again(lambda: self.search.awaited(self.shared.study))

    def remaining(self) -> int:
        """How many trials the study still lacks."""
        return self.trials - len(self.finished())

    def finished(self) -> list[FrozenTrial]:
        """The trials that have a score."""
        complete = (TrialState.COMPLETE,)
        return self.shared.again(lambda: self.shared.study.get_trials(deepcopy=False, states=complete))

    def rows(self) -> list[Row]:
        """The finished trials, as a search within a run writes them into its history."""
        study, finished = self.shared.study, [trial for trial in self.finished() if "iteration" in trial.user_attrs]
        return self.shared.again(lambda: [row(self.search, study, t, int(t.user_attrs["iteration"])) for t in finished])

    def _evaluate(self, trial: optuna.Trial, start: State, progress: Callable[[], bool]) -> float | None:
        """Train on from the trial's origin and measure; None where that is not to be."""
        space = ranges(self.config)
        coefficients = {name: trial.suggest_float(name, d.low, d.high, log=d.log) for name, d in space.items()}
        origin = self._origin(trial.number)
        if origin is not None and not self._ready(origin, progress):
            return None  # this trial was a guess; by now the search may know better
        training = self.training
        training.restore(copy.deepcopy(start if origin is None else self.snapshots.of(origin)))
        training.set_coefficients(coefficients)
        for _ in range(self.config.tuning.iterations):
            training.step(training.schedule.at(min(training.iteration, training.schedule.iterations - 1)))
            if progress():
                return None
        score = training.score()
        with self._run(trial) as run:
            run.params({f"loss.{name}": value for name, value in coefficients.items()})
            run.metrics({**training.means(), "validation/w1": score}, training.iteration)
        self.shared.again(lambda: trial.set_user_attr("iteration", training.iteration))
        self.shared.again(lambda: self.snapshots.keep(trial, training.state()))
        return score if math.isfinite(score) else math.inf

    def _origin(self, number: int) -> int | None:
        """The trial whose state this one trains on from, as `tuning.continue` says; None: the trained models."""
        if self.config.tuning.continues == "latest":
            return max((t.number for t in self.finished() if t.number < number), default=None)
        return self.search.origin(self.shared.study, self.shared.study.trials[number])

    def _ready(self, origin: int, progress: Callable[[], bool]) -> bool:
        """Whether that trial has a state to train on from; if it still runs, wait for its end, and say no."""
        running = False
        while not (state := self.shared.study.get_trials(deepcopy=False)[origin].state).is_finished():
            running = True
            if progress():
                return False
            time.sleep(0.2)
            self.shared.release()  # its worker may have been killed
        return state is TrialState.COMPLETE and not running

    def _run(self, trial: optuna.Trial) -> AbstractContextManager[tracking.Run]:
        parent = self.shared.study.user_attrs.get("mlflow_run_id")  # of `tune`
        tags = {"mlflow.parentRunId": parent} if parent else {}
        return tracking.run(self.config, stage="trial", name=f"trial {trial.number}", tags=tags)

    def _prune(self) -> None:
        """Keep only what trials may train on from: the decided path's incumbents, all of the present line, and what
        the running ones began with, though the path may have left it meanwhile."""
        running = self.shared.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        begun = {origin for trial in running if (origin := self._origin(trial.number)) is not None}
        if path := self.search.path(self.shared.study):
            last = path[-1]
            present = {step.number for step in path if step.line == last.line}
            newer = {trial.number for trial in self.finished() if trial.number > min(present)}
            self.snapshots.prune({step.incumbent for step in path} | present | newer | begun)
