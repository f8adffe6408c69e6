"""The search for c5–c10 from a trained run, outside the pipeline: any number of workers, killed and resumed at will."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna

from brule import machine, tracking
from brule import terminal as console
from brule.config import Config, fingerprint
from brule.errors import BruleError
from brule.files import root
from brule.maths.images import to_tensor
from brule.method.training import Training
from brule.method.tuning import sampler
from brule.stages.study import report
from brule.stages.study.snapshots import Snapshots
from brule.stages.study.start import trained
from brule.stages.study.storage import alone, join
from brule.stages.study.worker import Worker, finished, rows
from brule.stages.train import ship_detector
from brule.terminal import Stop

SECTIONS = ("seed", "model", "warp", "loss", "train", "tuning")
"""The parameters that all workers of a study must share."""


@dataclass(frozen=True)
class Place:
    """Which study, and where it is kept."""

    storage: str
    name: str
    snapshots: Path
    """The folder of what trials left; workers on several machines need a shared one."""


def tune(config: Config, place: Place, workers: int = 1) -> None:
    """Search until the study has `tuning.trials`; then write results/tuning/ and experiments/tuned.yaml.

    Call it again, here or on another machine with the same storage, to go on with a study or to join it.
    """
    worker = _worker(config, place, workers)
    study, search = worker.study, worker.search
    with _tracked(config, study) as run:
        with Stop() as stop, _helpers(config, place, workers), console.Trials(config.tuning.trials) as display:
            worker.work(_watched(worker, display, lambda: stop.signal is not None))
        found = rows(study, search)
        print("\n".join(str(path) for path in report.write(found)) if found else "no trial has ended")
        if worker.remaining() > 0:
            print(f"stopped with {worker.remaining()} trials to go; the same command goes on")
            raise SystemExit(stop.exit_code)
        coefficients = report.best(found)
        _ship(worker, {"first": int(found[0]["tuning/trial"]), "best": report.incumbent(found)})
        report.save(coefficients, place.name, found)
        run.metrics({f"tuned/{name}": value for name, value in coefficients.items()}, len(found))
        run.artifact(report.RESULTS, "tuning")
        run.artifact(report.EXPERIMENT)
    print(f"{report.EXPERIMENT}\n{report.command(coefficients)}")


@contextmanager
def _tracked(config: Config, study: optuna.Study) -> Iterator[tracking.Run]:
    """The study's run in MLflow: the first to come begins it, others go on with it."""
    with ExitStack() as stack:
        with alone(study):
            known = study.user_attrs.get("mlflow_run_id")
            run = stack.enter_context(tracking.run(config, stage="tune", name=study.study_name, resume_id=known))
            if run.id and known is None:
                study.set_user_attr("mlflow_run_id", run.id)
        yield run


def _ship(worker: Worker, trials: dict[str, int]) -> None:
    """What the path's training left in the detector, as results/tuning/first.safetensors and best.safetensors."""
    for name, number in trials.items():
        worker.training.restore(worker.snapshots.of(number))
        told = {"study": worker.study.study_name, "trial": number, "iteration": worker.training.iteration}
        ship_detector(report.RESULTS / f"{name}.safetensors", worker.training, told)


def help_out(config: Config, place: Place, workers: int, parent: int) -> None:
    """A further worker of `tune`, in a process of its own; it ends with its parent."""
    worker = _worker(config, place, workers)
    with Stop() as stop:
        worker.work(lambda: stop.signal is not None or os.getppid() != parent)


def _worker(config: Config, place: Place, workers: int) -> Worker:
    training, paths = trained(config)
    search = sampler(config)
    study = join(place.storage, place.name, search)
    with alone(study):
        _agree(study, config, paths)
        _settle(study, training, workers)
    return Worker(config, study, search, training, Snapshots(study, root() / place.snapshots))


def _agree(study: optuna.Study, config: Config, paths: list[Path]) -> None:
    """Scores of other parameters, data or models do not compare. How many trials there are to be may change."""
    tuning = config.tuning.model_copy(update={"trials": 1, "online": False})
    mark = fingerprint(config.model_copy(update={"tuning": tuning}), SECTIONS, paths)
    if study.user_attrs.get("fingerprint", mark) != mark:
        raise BruleError(
            f"study {study.study_name}: begun with other parameters, data or models; give this one another --name"
        )
    study.set_user_attr("fingerprint", mark)


def _settle(study: optuna.Study, training: Training, workers: int) -> None:
    """All workers compute as the first one does: scores then differ by their coefficients alone."""
    pace = study.user_attrs.get("pace")
    if pace is None:
        train = training.config.train
        images = to_tensor(training.inputs.gan.images[: train.batch_size], training.device)
        threads = train.threads or (max(1, machine.cores() // workers) if workers > 1 else 0)
        pace = asdict(machine.pace(training.networks.E, images, threads, train.precision))
        study.set_user_attr("pace", pace)
    machine.keep(machine.Pace(**pace))
    training.compute(pace["precision"])


@contextmanager
def _helpers(config: Config, place: Place, workers: int) -> Iterator[None]:
    """The other workers of this machine, for the body of the `with`."""
    context = multiprocessing.get_context("spawn")
    arguments = (config, place, workers, os.getpid())
    processes = [context.Process(target=help_out, args=arguments) for _ in range(workers - 1)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:  # what they are at now is not needed, or is to be tried again
            process.terminate()
        for process in processes:
            process.join()


def _watched(worker: Worker, display: "console.Trials", stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Called at every iteration: show trials that have ended since, by any worker."""
    shown: set[int] = set()

    def progress() -> bool:
        done = finished(worker.study)
        if {trial.number for trial in done} - shown:
            for row in rows(worker.study, worker.search):
                if (number := int(row["tuning/trial"])) not in shown:
                    display.ended(row)
                    shown.add(number)
        return stopping()

    return progress
