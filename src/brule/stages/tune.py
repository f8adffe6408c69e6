"""The search for c5–c10 from a trained run, outside the pipeline. Any number of workers may stop and resume it."""

import copy
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from brule import figures, files, machine, terminal, tracking
from brule.config import Config, fingerprint
from brule.detector import gan
from brule.errors import BruleError, quoted
from brule.method.golden_section import GoldenSectionSampler
from brule.method.training import Row, State, Training
from brule.method.tuning import TRIAL, ranges, row, sampler
from brule.stages.experiments import hydra
from brule.stages.storage import ServerLostError
from brule.stages.study import Shared, Snapshots, join
from brule.stages.train import SECTIONS, read_inputs, ship_detector

DETECTOR, GAN = Path("models/detector.safetensors"), Path("models/gan.safetensors")
FAREWELL = 60
"""Seconds that a helper has to end its iteration and its trial."""
RESULTS, EXPERIMENT = Path("results/tuning"), Path("experiments/tuned.yaml")


@dataclass(frozen=True)
class Place:
    """Which study, and where it is kept."""

    storage: str
    name: str
    snapshots: Path
    """The folder of what trials left; workers on several machines need a shared one."""


def tune(config: Config, place: Place, trials: int, workers: int = 1) -> None:
    """Search until the study has this many trials; then write results/tuning/ and experiments/tuned.yaml.

    Call it again, here or on another machine with the same storage, to go on with a study or to join it. Raises
    BruleError where the models, the storage or the parameters do not fit, and where a server is away for long.
    """
    worker = _worker(config, place, trials, workers)
    with worker.shared.reaching(), _tracked(config, worker.shared) as run:
        with terminal.Stop() as stop, _helpers(config, place, trials, workers), terminal.Trials(trials) as display:
            worker.work(_watched(worker, display, lambda: stop.signal is not None), display.waits)
        found = worker.rows()
        print("\n".join(str(path) for path in _write(found)) if found else "no trial has ended")
        if worker.remaining() > 0:
            print(f"stopped with {worker.remaining()} trials to go; the same command goes on")
            raise SystemExit(stop.exit_code)
        if awaited := worker.awaited():
            print(f"stopped while the search waits for trial {awaited.number}; the same command goes on")
            raise SystemExit(stop.exit_code)
        coefficients = _best(found)
        _save(coefficients, place.name, found)  # first: it needs no snapshot
        for name, number in {"first": int(found[0][TRIAL]), "best": _incumbent(found)}.items():
            worker.training.restore(worker.snapshots.of(number))
            about = {"study": place.name, "trial": number, "iteration": worker.training.iteration}
            ship_detector(RESULTS / f"{name}.safetensors", worker.training, about)
        run.metrics({f"tuned/{name}": value for name, value in coefficients.items()}, len(found))
        run.artifact(RESULTS, "tuning")
        run.artifact(EXPERIMENT)
    settings = " ".join(f"-S loss.{key}={hydra(value)}" for key, value in coefficients.items())
    print(f"{EXPERIMENT}\ndvc exp run {settings}")


@contextmanager
def _tracked(config: Config, shared: Shared) -> Iterator[tracking.Run]:
    """The study's run in MLflow: the first worker begins it, others go on with it."""
    study = shared.study
    with ExitStack() as stack:
        with shared.alone():
            known = study.user_attrs.get("mlflow_run_id")
            run = stack.enter_context(tracking.run(config, stage="tune", name=study.study_name, resume_id=known))
            if run.id and known is None:
                study.set_user_attr("mlflow_run_id", run.id)
        yield run


@contextmanager
def _helpers(config: Config, place: Place, trials: int, workers: int) -> Iterator[None]:
    """The other workers of this machine, for the body of the `with`."""
    context = multiprocessing.get_context("spawn")
    arguments = (config, place, trials, workers, os.getpid())
    pins = [machine.pin(number, config.machine.device) for number in range(1, workers)]  # we have the first GPU
    processes = [context.Process(target=_help_out, args=(*arguments, pin)) for pin in pins]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:  # their present trials are either not needed, or will be tried again
            process.terminate()
        for process in processes:
            process.join(FAREWELL)
            process.kill()  # a stopped one does not hear of it otherwise
            process.join()


def _help_out(
    config: Config, place: Place, trials: int, workers: int, parent: int, environment: Mapping[str, str]
) -> None:
    """A further worker of `tune`, in a process of its own with a GPU of its own; it ends with its parent."""
    os.environ.update(environment)  # CUDA reads it when it is first used

    def work() -> None:
        with suppress(ServerLostError), terminal.Stop() as stop:  # our parent says what has become of the server
            worker = _worker(config, place, trials, workers)
            with worker.shared.reaching():
                worker.work(lambda: stop.signal is not None or os.getppid() != parent)

    terminal.main(work)


def _watched(worker: "Worker", display: terminal.Trials, stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Called at every iteration: show the trials of all workers that have ended since the last call."""
    shown: set[int] = set()

    def progress() -> bool:
        if {trial.number for trial in worker.finished()} - shown:
            for ended in worker.rows():
                if (number := int(ended[TRIAL])) not in shown:
                    display.ended(ended)
                    shown.add(number)
        return stopping()

    return progress


# ---------------------------------------------------------------------------------------------------------- the workers


def _worker(config: Config, place: Place, trials: int, workers: int) -> "Worker":
    training, paths = trained(config, trials)
    search = sampler(config)
    shared = join(place.storage, place.name, search)
    with shared.reaching(), shared.alone():
        _agree(shared.study, config, paths)
        _settle(shared.study, training, workers)
    return Worker(config, shared, search, training, Snapshots(shared.study, files.root() / place.snapshots), trials)


def trained(config: Config, trials: int) -> tuple[Training, list[Path]]:
    """A training at the first iteration of `tuning.stage`, with the trained networks; and the files it was read from.

    The optimisers and the calibration start afresh, with c8, c9, c10 at their full weight. Raises BruleError where the
    models are missing, or do not match params.yaml.
    """
    stages, name = config.stages, config.tuning.stage
    if name not in stages:
        raise BruleError(f"tuning.stage names {quoted(name)}, but `stages` has only {', '.join(stages)}")
    # Long enough for as many lines as there are trials: its rates then hardly fall, as in the middle of a stage.
    stage = stages[name].model_copy(update={"iterations": config.tuning.iterations * (trials + 1)})
    train = config.train.model_copy(update={"ramp": 0, "initial": str(DETECTOR)})
    config = config.model_copy(update={"train": train, "stages": {name: stage}})
    inputs, paths = read_inputs(config)
    training = Training(config, inputs, machine.device(config.machine.device))
    n = training.networks
    gan.restore(GAN, {"generator": n.G, "discriminator": n.D, "style": n.S, "noise_to_style": n.So})
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


# -------------------------------------------------------------------------------------------------- what a study leaves


def _write(rows: Sequence[Row]) -> list[Path]:
    """Write results/tuning/trials.csv and search.png; returns their paths."""
    ordered: list[Row] = sorted(rows, key=_number)
    table = pd.DataFrame(ordered)
    paths = [RESULTS / "trials.csv", RESULTS / "search.png"]
    files.write_text(paths[0], table.to_csv(index=False))
    figures.search(table, paths[1])
    return paths


def _incumbent(rows: Sequence[Row]) -> int:
    """The number of the best trial of the decided path."""
    return int(float(max(rows, key=_number)["tuning/incumbent"]))


def _best(rows: Sequence[Row]) -> dict[str, float]:
    """{c5: …}: the coefficients of the decided path's incumbent."""
    found = next(row for row in rows if row[TRIAL] == _incumbent(rows))
    return {name[7:]: float(f"{float(found[name]):.4g}") for name in found if name.startswith("tuning/c")}


def _save(coefficients: Mapping[str, float], name: str, rows: Sequence[Row]) -> None:
    """Write experiments/tuned.yaml, from which `pipelines/experiment.py tuned` starts; nothing else reads it."""
    ordered = sorted(rows, key=_number)
    first, last = float(ordered[0]["tuning/score"]), float(ordered[-1]["tuning/best"])
    lines = [
        f"# What the search {name} found in {len(rows)} trials: W₁ on validation {first:.2f} → {last:.2f} %",
        "loss:",
        *(f"  {key}: {value!r}" for key, value in coefficients.items()),
    ]
    files.write_text(EXPERIMENT, "\n".join(lines) + "\n")


def _number(row: Row) -> float:
    return float(row[TRIAL])
