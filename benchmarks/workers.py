"""How much sooner two workers end a search than one: the same number of trials, each of which only waits.

The trials use no CPU, so the ratio shows what sharing the search costs: the storage, and trials that are evaluated
ahead of a decision that then goes another way. On every storage, one worker is measured first, and then two.
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
from brule.stages.study import Shared, join

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
    """One worker: trials that wait for some seconds, until this many are complete."""

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial.suggest_float(name, d.low, d.high, log=d.log) for name, d in RANGES.items()}
        time.sleep(seconds)
        return loss(params)

    shared = join(url, name, sampler())
    with shared.working():
        while len(complete(shared)) < trials:
            shared.attempt(objective)


def complete(shared: Shared) -> list[FrozenTrial]:
    return shared.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def search(url: str, workers: int, trials: int, seconds: float) -> dict[str, float]:
    """Seconds from the beginning of the first trial to the end of the last, and how many of them the search used."""
    name, context = f"benchmark {time.time_ns()}", get_context("spawn")
    processes = [context.Process(target=work, args=(url, name, trials, seconds)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    shared = join(url, name, sampler())
    first = sorted(complete(shared), key=_end)[:trials]
    used = {step.number for step in sampler().path(shared.study)} & {trial.number for trial in first}
    begun = min(trial.datetime_start.timestamp() for trial in first if trial.datetime_start)
    optuna.delete_study(study_name=name, storage=shared.storage.optuna)
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
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each trial waits; default: 1")
    parser.add_argument(
        "--database", help="a PostgreSQL database to measure as well, as postgresql://USER@HOST/DATABASE"
    )
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
