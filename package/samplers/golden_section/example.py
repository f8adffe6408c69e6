"""Six coefficients of a loss, each known within a factor of 100: 60 evaluations of the paper's search."""

import math

import optuna
import optunahub

START = {"c5": 20.0, "c6": 20.0, "c7": 1e5, "c8": 5.0, "c9": 10.0, "c10": 1.0}
BEST = {"c5": 60.0, "c6": 5.0, "c7": 2e5, "c8": 9.0, "c9": 3.0, "c10": 2.0}
RANGES = {name: optuna.distributions.FloatDistribution(c / 100, c * 100, log=True) for name, c in START.items()}


def objective(trial: optuna.Trial) -> float:
    tried = {name: trial.suggest_float(name, d.low, d.high, log=True) for name, d in RANGES.items()}
    return sum(math.log10(tried[name] / best) ** 2 for name, best in BEST.items())


if __name__ == "__main__":
    module = optunahub.load_module("samplers/golden_section")
    sampler = module.GoldenSectionSampler(seed=0, ranges=RANGES, start=START)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=60)
    for step in sampler.path(study)[-5:]:
        print(f"line {step.line}, direction {step.direction}: {step.value:.4f}, best so far {step.incumbent_value:.4f}")
