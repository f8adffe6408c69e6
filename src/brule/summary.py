"""results/train.json: what a run came to, in numbers, and the last words of the `train` stage."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from brule.method.collapse import collapse
from brule.method.compute import flops
from brule.method.training import Training


def summary(training: Training, carry: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The shipped checkpoint and its alarms, the collapse that the run ended in (or null), and what the run cost."""
    best, ended = training.best, collapse(training.history)
    numbers = {name: value for name, value in best.row.items() if isinstance(value, float)}
    return {
        "best_iteration": best.iteration,
        "validation": {name.split("/")[1]: value for name, value in numbers.items()},
        "alarms": best.alarms,
        "collapsed": ended and {**asdict(ended), "sentence": ended.sentence(best.iteration, best.healthy)},
        "mlflow_run_id": carry["run_id"],
        "seconds": round(carry["seconds"], 1),
        "images_per_second": round(training.images / carry["seconds"], 1),
        "tflops": _tflops(training, carry["seconds"]),
        **carry["pace"],
        "fingerprint": mark,
        "history_rows": len(training.history),
    }


def _tflops(training: Training, seconds: float) -> float | None:
    """10¹² operations a second, to be held against a GPU's peak in bfloat16; a CPU is not asked to count them."""
    if training.device.type != "cuda":
        return None
    return round(flops(training.config, training.inputs, training.device) / seconds / 1e12, 2)


def verdict(summary: Mapping[str, Any]) -> str:
    """The end of the run in words: a collapse first, then each alarm that stands at the end."""
    start = f"trained in {summary['seconds']:.0f} s"
    if ended := summary["collapsed"]:
        alarms = "".join(f"\ncollapse alarm: {sentence}" for sentence in ended["alarms"])
        return f"{start}, but {ended['sentence']}{alarms}"
    return f"{start}; best at iteration {summary['best_iteration']}; no collapse alarm"
