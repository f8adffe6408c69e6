"""The search for c5–c10 from a trained run, outside the pipeline: its workers on this machine, and what it leaves."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pandas as pd

from brule import figures, files, machine, terminal, tracking
from brule.config import Config
from brule.method.training import Row
from brule.method.tuning import TRIAL
from brule.stages.experiments import hydra
from brule.stages.storage import ServerLostError
from brule.stages.study import Shared
from brule.stages.train import ship_detector
from brule.stages.worker import Address, Worker

FAREWELL = 60
"""Seconds that a helper has to end its iteration and its trial."""
RESULTS, EXPERIMENT = Path("results/tuning"), Path("experiments/tuned.yaml")


def tune(config: Config, address: Address, trials: int, workers: int = 1) -> None:
    """Search until the study has this many trials; then write results/tuning/ and experiments/tuned.yaml.

    Call it again, here or on another machine with the same storage, to go on with a study or to join it. Raises
    BruleError where the models, the storage or the parameters do not fit, and where a server is away for long.
    """
    worker = Worker.join(config, address, trials, workers)
    with worker.shared.reaching(), _tracked(config, worker.shared) as run:
        with terminal.Stop() as stop, _helpers(config, address, trials, workers), terminal.Trials(trials) as display:
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
        _save(coefficients, address.name, found)  # first: it needs no snapshot
        for name, number in {"first": int(found[0][TRIAL]), "best": _incumbent(found)}.items():
            worker.training.restore(worker.snapshots.of(number))
            about = {"study": address.name, "trial": number, "iteration": worker.training.iteration}
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
def _helpers(config: Config, address: Address, trials: int, workers: int) -> Iterator[None]:
    """The other workers of this machine, for the body of the `with`."""
    context = multiprocessing.get_context("spawn")
    arguments = (config, address, trials, workers, os.getpid())
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
    config: Config, address: Address, trials: int, workers: int, parent: int, environment: Mapping[str, str]
) -> None:
    """A further worker of `tune`, in a process of its own with a GPU of its own; it ends with its parent."""
    os.environ.update(environment)  # CUDA reads it when it is first used

    def work() -> None:
        with suppress(ServerLostError), terminal.Stop() as stop:  # our parent says what has become of the server
            worker = Worker.join(config, address, trials, workers)
            with worker.shared.reaching():
                worker.work(lambda: stop.signal is not None or os.getppid() != parent)

    terminal.main(work)


def _watched(worker: Worker, display: terminal.Trials, stopping: Callable[[], bool]) -> Callable[[], bool]:
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
