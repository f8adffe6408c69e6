"""Images a second and the share of each part of a training step, beside a straightforward composition of the same step.

The default networks on random images, so it needs no data. Both compositions take turns in one process, and each figure
is a median over the turns: the ratios hold on a busy machine too, the seconds only on a quiet one.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import report
import straightforward
import torch
from compositions import build, inputs, iterations, stages
from pieces import REST, Stopwatch, installed
from torch import Tensor

from brule import config, files, machine
from brule import terminal as entry
from brule.method import losses
from brule.method.training import Training
from brule.networks.layers import ModulatedConv

README = Path(__file__).parent / "README.md"
WARM_UP = 2  # turns that are not counted: they allocate

Times = dict[str, list[float]]


def turn_about(trainings: dict[str, Training], repeats: int) -> dict[tuple[str, str], dict[str, float]]:
    """(composition, iteration) → the median seconds of its parts, and of the whole as `total`; all take turns."""
    runs = {name: iterations(training) for name, training in trainings.items()}
    times: dict[tuple[str, str], Times] = {}
    for turn in range(WARM_UP + repeats):
        for iteration in next(iter(runs.values())):
            for name, training in trainings.items():
                watch = Stopwatch()
                with installed(training, watch, name == "straightforward"), watch.running(REST):
                    runs[name][iteration](turn)
                if turn >= WARM_UP:
                    seconds = watch.seconds | {"total": sum(watch.seconds.values())}
                    for part, value in seconds.items():
                        times.setdefault((name, iteration), {}).setdefault(part, []).append(value)
    return {key: {part: median(values) for part, values in parts.items()} for key, parts in times.items()}


def steps(medians: dict[tuple[str, str], dict[str, float]], parameters: config.Config) -> dict[str, Any]:
    """The encoder's step, and the joint one: Algorithm 1, R1 and Algorithm 2 in the proportion in which they run."""
    joint, train = stages(parameters.stages.values()).joint, parameters.train
    first, second, lazy = 1 / (joint.gan_every or 1), 1 / joint.encoder_period, 1 / train.r1_every
    images = {"encoder": train.batch_size, "joint": first * train.gan_batch_size + second * train.batch_size}
    result: dict[str, Any] = {name: {"images": count} for name, count in images.items()}
    for name in dict.fromkeys(composition for composition, _ in medians):
        alone, two, one, penalised = (
            medians[name, which] for which in ("encoder", "algorithm 2", "algorithm 1", "algorithm 1 with R1")
        )
        R1 = lazy * (penalised["total"] - one["total"])
        parts = {f"1: {part}": first * value for part, value in one.items() if part != "total"}
        parts |= {"1: R1": first * R1}
        parts |= {f"2: {part}": second * value for part, value in two.items() if part != "total"}
        result["encoder"][name] = alone
        result["joint"][name] = parts | {"total": first * (one["total"] + R1) + second * two["total"]}
    return result


def alone(parameters: config.Config, repeats: int) -> dict[str, dict[str, float]]:
    """Forward and backward of single pieces, both float32, both with the same numbers as their result."""
    result: dict[str, dict[str, float]] = {}
    for name, (arguments, ours, theirs) in pairs(parameters).items():
        seconds: dict[str, list[float]] = {"brule": [], "straightforward": []}
        for turn in range(WARM_UP + repeats):
            for composition, function in zip(seconds, (ours, theirs), strict=True):
                leaf = arguments.clone().requires_grad_()
                start = time.perf_counter()
                torch.autograd.backward(function(leaf).square().sum())
                if turn >= WARM_UP:
                    seconds[composition].append(time.perf_counter() - start)
        result[name] = {composition: median(values) for composition, values in seconds.items()}
    return result


Function = Callable[[Tensor], Tensor]


def pairs(parameters: config.Config) -> dict[str, tuple[Tensor, Function, Function]]:
    """name → an argument, `brule`'s function of it and the straightforward one, which are equal."""
    random, model, batch = torch.Generator().manual_seed(0), parameters.model, parameters.train.batch_size
    X_b = torch.tensor(inputs(8).X_b)
    X = X_b + 0.02 * torch.randn(batch, *X_b.shape, generator=random)
    logits = torch.randn(batch, len(X_b), model.map_size, model.map_size, generator=random)
    width, size = model.gan.width, parameters.prepare.image_size
    layer = ModulatedConv(2 * width, width, model.style.size, resample="up")
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    maps = torch.randn(parameters.train.gan_batch_size, 2 * width, size // 2, size // 2, generator=random)
    style = torch.randn(len(maps), model.style.size, generator=random)
    terms = replace(losses.BarycenterTerms(), coupling="ot")
    return {
        "modulated convolution, enlarging": (
            maps.to(memory_format=torch.channels_last),
            lambda x: layer(x, style),
            lambda x: straightforward.modulated(layer, x.contiguous(), style),
        ),
        "R_g": (
            logits,
            lambda x: losses.geometric_regulariser([x], X, 1e4, 1.0),
            lambda x: straightforward.geometric_regulariser([x], X, 1e4, 1.0),
        ),
        "R_b, coupled by transport": (
            X,
            lambda x: losses.barycenter_regulariser(x, X_b, terms),
            lambda x: straightforward.barycenter_regulariser(x, X_b, terms),
        ),
    }


def measure(parameters: config.Config, repeats: int) -> dict[str, Any]:
    """Everything the report shows, in seconds."""
    device = machine.device(parameters.machine.device)
    trainings = {name: build(parameters, device, name == "straightforward") for name in ("brule", "straightforward")}
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "steps": steps(turn_about(trainings, repeats), parameters),
        "alone": alone(parameters, repeats),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parameters", type=Path, default=Path("params.yaml"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--batch", type=int, help="images of Algorithm 2's batch; half of it of Algorithm 1's")
    parser.add_argument("--repeats", type=int, default=15, help="turns that are timed")
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/training.json"))
    parser.add_argument("--readme", action="store_true", help="put the tables into benchmarks/README.md as well")
    args = parser.parse_args()
    parameters = config.read(args.parameters)
    machine.keep(machine.Pace(args.threads, parameters.machine.precision))
    changes: dict[str, int | None] = {"adversarial_every": None}  # all of Algorithm 1 is timed, D's turn included
    if args.batch:
        changes |= {"batch_size": args.batch, "gan_batch_size": max(1, args.batch // 2)}
    parameters = parameters.model_copy(update={"train": parameters.train.model_copy(update=changes)})
    result = measure(parameters, args.repeats)
    files.write_json(args.json, result)
    report.show(result)
    if args.readme:
        files.write_text(README, report.filled(README.read_text(encoding="utf-8"), result))


if __name__ == "__main__":
    entry.main(main)
