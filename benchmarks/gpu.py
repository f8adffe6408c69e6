"""How fast a GPU trains, and how much of it is used: each kind of iteration of each stage, in under three minutes.

Random images, so it needs no data. Every configuration has its share of the time; one that needs more, or fails, stops
early and says so. What was measured is in the JSON file at once, so that a run that is cut off keeps its figures.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import report
import torch
from compositions import build
from flops import counted, kinds_of
from torch.profiler import ProfilerActivity, profile

from brule import config, files, machine
from brule import terminal as entry
from brule.method import graphs
from brule.stages import experiments

ROOT = Path(__file__).parents[1]
README = ROOT / "benchmarks/README.md"
DEFAULT = "default"
"""The name of params.yaml itself, beside those in experiments/."""
NAMES = (DEFAULT, "300w-unsupervised-gpu", "paper")
TINY = {
    "prepare": {"image_size": 64},
    "model": {
        "map_size": 16,
        "encoder": {"width": 8, "depth": 1, "stacks": 1},
        "gan": {"width": 4, "max_width": 8},
        "style": {"size": 8, "width": 4, "latent": 8, "depth": 2},
    },
    "train": {"batch_size": 4, "gan_batch_size": 4},
}
"""For a rehearsal on a CPU: every stage, loss and switch of a configuration, and next to no arithmetic."""
TRACED = 2  # iterations under the profiler, which takes seconds to sort thousands of kernels
MOST = 1.0  # seconds of one kind's timed iterations
HEAD = (
    *("stage", "ms", "images a second", "kernel by kernel", "TFLOP/s", "of the peak", "GPU busy", "kernels", "waits"),
    "until then, s",
)

Row = dict[str, Any]


def parameters(name: str, device: str, batch: int | None, tiny: bool) -> config.Config:
    """params.yaml, with the values of the experiment `name` and the options laid over it."""
    wanted = experiments.workspace(ROOT)
    if name != DEFAULT:
        wanted = experiments.merge(wanted, experiments.load(ROOT / "experiments", name))
    wanted = experiments.merge(wanted, TINY if tiny else {})
    sizes = {"train.batch_size": batch, "train.gan_batch_size": batch} if batch else {}
    # the images are random, wherever those of the experiment lie
    return config.parse(
        experiments.merge(wanted, {"data.source": "synthetic", "machine.device": device, **sizes}), name
    )


def peak(device: torch.device, size: int, repeats: int = 20) -> float:
    """TFLOP/s of a product of two bfloat16 matrices of this size."""
    a, b = torch.randn(2, size, size, device=device).bfloat16()
    for _ in range(2):  # the first time the library loads, and the clock rises
        _wait(device)
        start = time.perf_counter()
        for _ in range(repeats):
            _ = a @ b
        _wait(device)
        seconds = time.perf_counter() - start
    return 2e-12 * size**3 * repeats / seconds


def measured(wanted: config.Config, iterations: int, deadline: float) -> Iterator[dict[str, Any]]:
    """The result so far, after each kind of iteration; it ends early at the `deadline` (of `time.perf_counter`)."""
    start = time.perf_counter()
    device = machine.device(wanted.machine.device)
    training, plain = (
        build(
            wanted.model_copy(update={"machine": wanted.machine.model_copy(update={"eager": eager})}),
            device,
            exchanged=False,
        )
        for eager in (None, True)
    )
    every = kinds_of(training.schedule, wanted.train)
    result: dict[str, Any] = {
        "image_size": wanted.prepare.image_size,
        "batch_sizes": [wanted.train.batch_size, wanted.train.gan_batch_size],
        "precision": training.settings.precision,
        "start": None,
        "left_out": [[stage, kind.name] for stage, kinds in every.items() for kind in kinds],
        "kinds": [],
    }
    for stage, kinds in every.items():
        for kind in kinds:
            if time.perf_counter() > deadline:
                return
            step, images = partial(training.step, kind.moment), training.images
            begun = time.perf_counter()
            step()
            _wait(device)
            if result["start"] is None:
                result["start"] = time.perf_counter() - start
            images = training.images - images
            for _ in range(graphs.CALLS):  # until it is played back
                step()
            _wait(device)
            row: Row = {"stage": stage, "kind": kind.name, "images": images, "first": time.perf_counter() - begun}
            row["share"] = kind.times / wanted.stages[stage].iterations
            row["seconds"], row["iterations"] = timed(step, device, iterations)
            row["tflop"] = 1e-12 * counted(plain, kind.moment)
            row["plain"], _ = timed(partial(plain.step, kind.moment), device, iterations)
            row |= traced(step, device)
            result["kinds"].append(row)
            result["left_out"].remove([stage, kind.name])
            yield result


def timed(step: Callable[[], None], device: torch.device, iterations: int) -> tuple[float, int]:
    """(seconds of an iteration, how many were timed): one after the other, as in training; none waits for the one
    before, but for the first, which tells how many take `MOST` seconds and does not count."""

    def seconds(count: int) -> float:
        _wait(device)
        start = time.perf_counter()
        for _ in range(count):
            step()
        _wait(device)
        return time.perf_counter() - start

    count = max(1, min(iterations, int(MOST / seconds(1))))
    return seconds(count) / count, count


def traced(step: Callable[[], None], device: torch.device) -> Row:
    """What the GPU does in an iteration; each None on a CPU."""
    kind = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[kind]) as profiler:
        for _ in range(TRACED):
            step()
        _wait(device)
    return work(profiler.key_averages(), TRACED)


def work(events: Iterable[Any], iterations: int) -> Row:
    """{"busy": seconds of an iteration in which the GPU works, "kernels": their number, "waits": how often the CPU
    waits for the GPU}; each None where no GPU worked.

    All runs on one stream, so that the seconds of the kernels and the copies add up.
    """
    events = [event for event in events if not event.is_user_annotation]  # these span the kernels that they name
    there = [event for event in events if event.device_type.name == "CUDA"]
    if not there:
        return dict.fromkeys(("busy", "kernels", "waits"))
    kernels = (event.count for event in there if not event.key.startswith(("Memcpy", "Memset")))
    waits = (event.count for event in events if event.key == "cudaStreamSynchronize")
    return {
        "busy": 1e-6 * sum(event.self_device_time_total for event in there) / iterations,
        "kernels": sum(kernels) / iterations,
        "waits": sum(waits) / iterations,
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ------------------------------------------------------------------------------------------------------------ the table


def mean(rows: list[Row]) -> Row:
    """An iteration of a stage, of which the kinds make up their shares; `first`: all that the stage had to find out."""
    shared: Row = {"stage": rows[0]["stage"], "first": sum(row["first"] for row in rows)}
    for name in ("images", "tflop", "seconds", "plain", "busy", "kernels", "waits"):
        values = [row[name] for row in rows]
        known = None not in values
        shared[name] = sum(row["share"] * row[name] for row in rows) if known else None
    return shared


def section(name: str, result: dict[str, Any], reached: float) -> report.Section:
    """The stages, those of several kinds of iteration followed by each of them."""
    rows: list[tuple[str, ...]] = []
    missing = {stage for stage, _ in result["left_out"]}
    for stage in dict.fromkeys(row["stage"] for row in result["kinds"]):
        kinds = [row for row in result["kinds"] if row["stage"] == stage]
        rows.append((stage, *(["–"] * (len(HEAD) - 1) if stage in missing else _cells(mean(kinds), reached))))
        if stage in missing or len(kinds) > 1:
            rows += [(f"· {row['kind']}", *_cells(row, reached)) for row in kinds]
    side, sizes = result["image_size"], " and ".join(map(str, result["batch_sizes"]))
    title = f"{name}: {side} px, batches of {sizes}, {result['precision']}"
    title += f"; {result['start']:.1f} s to the end of the first iteration"
    if result["left_out"]:
        title += "; stopped before " + ", ".join(": ".join(each) for each in result["left_out"])
    return report.Section(title, HEAD, rows)


def _cells(row: Row, reached: float) -> tuple[str, ...]:
    rate, busy = row["tflop"] / row["seconds"], row["busy"]
    return (
        *(
            f"{1e3 * row['seconds']:.1f}",
            f"{row['images'] / row['seconds']:.0f}",
            f"{row['images'] / row['plain']:.0f}",
        ),
        *(f"{rate:.3g}", f"{100 * rate / reached:.1f} %"),
        *("–" if busy is None else f"{100 * busy / row['seconds']:.0f} %",),
        *("–" if row[name] is None else f"{row[name]:.0f}" for name in ("kernels", "waits")),
        f"{row['first']:.1f}",
    )


def setting(result: dict[str, Any]) -> str:
    return (
        f"{result['device']}, torch {result['torch']}, {result['peak']:.3g} TFLOP/s in a product of bfloat16 matrices"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parameters", nargs="+", default=NAMES, metavar="NAME", help=f"{', '.join(NAMES)}, …")
    parser.add_argument("--batch", type=int, help="images of both algorithms' batches; default: as configured")
    parser.add_argument("--iterations", type=int, default=20, help="timed, of each kind, at most; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=150, help="for all of it; default: %(default)s")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="small networks and batches, to rehearse on a CPU")
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/gpu.json"))
    parser.add_argument("--readme", action="store_true", help="put the tables into benchmarks/README.md as well")
    args = parser.parse_args()
    end = time.perf_counter() + args.seconds
    chosen = {name: parameters(name, args.device, args.batch, args.tiny) for name in args.parameters}
    device = machine.device(args.device)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper(),
        "torch": torch.__version__,
        "peak": peak(device, 64 if args.tiny else 8192),
        "configurations": {},
    }
    print(setting(result), flush=True)
    files.write_json(args.json, result)
    sections, failed = [], False
    for index, (name, wanted) in enumerate(chosen.items()):
        now = time.perf_counter()
        try:
            for found in measured(wanted, args.iterations, now + (end - now) / (len(chosen) - index)):
                result["configurations"][name] = found
                files.write_json(args.json, result)
        except Exception as error:  # out of memory, or a kernel's; the others have their turn
            failed = True
            print(f"{name}: failed: {error}", file=sys.stderr, flush=True)
        if name in result["configurations"]:
            sections.append(section(name, result["configurations"][name], result["peak"]))
            report.printed("", sections[-1:])
        else:
            print(f"{name}: nothing was measured", flush=True)
    if args.readme:
        files.write_text(README, report.written(README.read_text(encoding="utf-8"), "gpu", setting(result), sections))
    sys.exit(failed)


if __name__ == "__main__":
    entry.main(main)
