"""How close samplers for Optuna come to the best six coefficients: the golden-section search and three of Optuna's own.

c5 … c10 start from the paper's values and may become a hundred times as large or as small. All samplers know the same
ranges and evaluate the start first. Nothing is trained: four functions of the logarithms have a known minimum, 0.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import report
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from brule import files
from brule import terminal as entry
from brule.method.golden_section import GoldenSectionSampler

README = Path(__file__).parent / "README.md"
START = {"c5": 20.0, "c6": 20.0, "c7": 1e5, "c8": 5.0, "c9": 10.0, "c10": 1.0}
RANGES = {name: FloatDistribution(c / 100, c * 100, log=True) for name, c in START.items()}
DISTANCE = 1.4  # decades from the start to the minimum; the box reaches two decades to either side
NOISE = 0.1  # standard deviation

Point = npt.NDArray[np.float64]  # log10(c / its start), (6,)
Function = Callable[[Point], float]

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "golden section": lambda seed: GoldenSectionSampler(seed=seed, ranges=RANGES, start=START),
    "… step not adapted": lambda seed: GoldenSectionSampler(seed=seed, ranges=RANGES, start=START, adapt=False),
    "CMA-ES": lambda seed: CmaEsSampler(seed=seed),
    "TPE": lambda seed: TPESampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


def functions(seed: int) -> dict[str, tuple[Function, float]]:
    """name → a function whose minimum is 0, elsewhere for every seed, and the noise on its values."""
    random = np.random.default_rng(seed)
    direction = random.standard_normal(len(START))
    best = DISTANCE * direction / np.linalg.norm(direction)
    turned, _ = np.linalg.qr(random.standard_normal((len(START), len(START))))
    weights = np.logspace(0, 3, len(START))

    def quadratic(x: Point) -> float:
        return float(((x - best) ** 2).sum())

    def ill_conditioned(x: Point) -> float:
        return float((weights * (turned @ (x - best)) ** 2).sum())

    def rosenbrock(x: Point) -> float:
        z = 1.5 * x + np.tile([-1.2, 1.0], len(x) // 2)  # our start is the usual one
        return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())

    return {
        "quadratic": (quadratic, 0.0),
        "quadratic, condition 1000, turned": (ill_conditioned, 0.0),
        "Rosenbrock": (rosenbrock, 0.0),
        f"quadratic, noise of {NOISE}": (quadratic, NOISE),
    }


def regret(sampler: BaseSampler, function: Function, noise: float, seed: int, trials: int) -> float:
    """The value of the function, without noise, at the point where a search observed its smallest value."""
    random, regrets = np.random.default_rng([seed, 1]), list[float]()

    def objective(trial: optuna.Trial) -> float:
        values = {name: trial.suggest_float(name, d.low, d.high, log=True) for name, d in RANGES.items()}
        regrets.append(function(np.array([np.log10(values[name] / START[name]) for name in START])))
        return regrets[-1] + noise * random.standard_normal()

    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(dict(START))
    study.optimize(objective, n_trials=trials)
    return regrets[study.best_trial.number]


def measure(seeds: int, trials: int) -> dict[str, Any]:
    """Median regrets: function → sampler → number."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        for name, (function, noise) in functions(seed).items():
            row = found.setdefault(name, {})
            row.setdefault("start", []).append(function(np.zeros(len(START))))
            for label, sampler in SAMPLERS.items():
                row.setdefault(label, []).append(regret(sampler(seed), function, noise, seed, trials))
    regrets = {name: {label: median(values) for label, values in row.items()} for name, row in found.items()}
    return {"seeds": seeds, "trials": trials, "regrets": regrets}


def section(result: dict[str, Any]) -> report.Section:
    head = ("function", "start", *SAMPLERS)
    rows = [(name, *(f"{row[label]:.2g}" for label in head[1:])) for name, row in result["regrets"].items()]
    return report.Section("regret", head, rows)


def setting(result: dict[str, Any]) -> str:
    return f"Medians over {result['seeds']} seeds of the regret after {result['trials']} trials"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/tuner.json"))
    parser.add_argument("--readme", action="store_true", help="put the table into benchmarks/README.md as well")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    result = measure(args.seeds, args.trials)
    files.write_json(args.json, result)
    report.printed(setting(result), [section(result)])
    if args.readme:
        text = README.read_text(encoding="utf-8")
        files.write_text(README, report.written(text, "tuner", setting(result), [section(result)]))


if __name__ == "__main__":
    entry.main(main)
