"""How much sooner two workers end a search than one: the same number of trials, each of which only waits.

The trials take no processor, so the ratio says what sharing the search costs: the storage, and trials that are
evaluated ahead of a decision that then goes another way. One worker and two take turns on every storage.
"""

import argparse
import math
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import report
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from brule import files
from brule import terminal as entry
from brule.method.golden_section import GoldenSectionSampler
from brule.stages.study.marks import asked
from brule.stages.study.storage import join

README = Path(__file__).parent / "README.md"
START = {f"c{5 + i}": 10.0**i for i in range(6)}
RANGES = {name: FloatDistribution(value / 100, value * 100, log=True) for name, value in START.items()}
HEAD = ("storage", "one worker, s", "two workers, s", "ratio", "decided by one", "by two", "ratio by decided trial")


def sampler() -> GoldenSectionSampler:
    return GoldenSectionSampler(seed=0, ranges=RANGES, start=START)


def loss(params: dict[str, float]) -> float:
    """Quadratic in the logarithms, with its minimum 20 times above the start."""
    return sum(math.log10(params[name] / START[name] / 20) ** 2 for name in START)


def work(url: str, name: str, trials: int, seconds: float) -> None:
    """One worker: trials that wait for so long, until so many are complete."""
    study = joined(url, name)
    while len(complete(study)) < trials:
        with asked(study, RANGES) as trial:
            time.sleep(seconds)
            study.tell(trial, loss(trial.params))


def joined(url: str, name: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return join(url, name, sampler())


def complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def search(url: str, workers: int, trials: int, seconds: float) -> dict[str, float]:
    """Seconds from the first trial's beginning to the end of the last, and how many of them the search has used."""
    name, context = f"benchmark {time.time_ns()}", get_context("spawn")
    processes = [context.Process(target=work, args=(url, name, trials, seconds)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    study = joined(url, name)
    first = sorted(complete(study), key=_end)[:trials]
    used = {step.number for step in sampler().path(study)} & {trial.number for trial in first}
    begun = min(trial.datetime_start.timestamp() for trial in first if trial.datetime_start)
    optuna.delete_study(study_name=name, storage=study._storage)
    return {"seconds": _end(first[-1]) - begun, "decided": len(used)}


def _end(trial: FrozenTrial) -> float:
    assert trial.datetime_complete is not None
    return trial.datetime_complete.timestamp()


def measure(urls: dict[str, str], trials: int, seconds: float) -> dict[str, Any]:
    """Everything the report shows."""
    rows = {name: [search(url, workers, trials, seconds) for workers in (1, 2)] for name, url in urls.items()}
    return {"trials": trials, "seconds": seconds, "storages": rows}


def section(result: dict[str, Any]) -> report.Section:
    rows: list[tuple[str, ...]] = []
    for name, (one, two) in result["storages"].items():
        ratio = one["seconds"] / two["seconds"]
        rows.append(
            (
                *(name, f"{one['seconds']:.1f}", f"{two['seconds']:.1f}", f"{ratio:.2f}"),
                *(f"{one['decided']}", f"{two['decided']}", f"{ratio * two['decided'] / one['decided']:.2f}"),
            )
        )
    return report.Section("two workers against one", HEAD, rows)


def setting(result: dict[str, Any]) -> str:
    return f"{result['trials']} trials that wait for {result['seconds']:g} s each"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a trial waits")
    parser.add_argument("--database", help="postgresql://USER@HOST/DATABASE, to be measured as well")
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/workers.json"))
    parser.add_argument("--readme", action="store_true", help="put the table into benchmarks/README.md as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = {"journal": f"journal:{Path(folder).resolve() / 'tuning.journal'}"}
        if args.database:
            urls["PostgreSQL"] = args.database
        result = measure(urls, args.trials, args.seconds)
    files.write_json(args.json, result)
    report.printed(setting(result), [section(result)])
    if args.readme:
        text = README.read_text(encoding="utf-8")
        files.write_text(README, report.written(text, "workers", setting(result), [section(result)]))


if __name__ == "__main__":
    entry.main(main)
