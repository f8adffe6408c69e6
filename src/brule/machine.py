"""Which device, how many CPU threads, which precision: measured, since no two machines are quick at the same."""

import os
import time
from dataclasses import dataclass

import torch
from torch import nn

from brule.errors import BruleError


def device(name: str) -> torch.device:
    """`auto` is the GPU where there is one."""
    if name == "auto":
        return _prepared(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise BruleError(f"train.device = {name!r} is not a device; use auto, cpu or cuda") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BruleError("train.device is cuda, but torch finds no GPU here; use auto or cpu")
    return _prepared(chosen)


def _prepared(device: torch.device) -> torch.device:
    """On a GPU: cuDNN tries its algorithms once for each shape, and all shapes of training return.

    Matrix products in float32 stay exact: thin-plate splines and the fits of transport live on the digits that TF32
    drops. Convolutions in float32 (the penalty R1) take TF32, torch's default. A resumed run repeats a CPU's run bit by
    bit, a GPU's up to rounding.
    """
    torch.backends.cudnn.benchmark = device.type == "cuda"
    torch.set_float32_matmul_precision("highest")
    return device


def cores() -> int:
    """The CPU cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Pace:
    """How a run computes on this machine."""

    threads: int
    """Of the CPU."""
    precision: str
    """Of the convolutions: float32 or bfloat16."""


def pace(module: nn.Module, images: torch.Tensor, threads: int, precision: str) -> Pace:
    """What is left open (0 threads, precision `auto`) is measured by forward and backward passes of `module`.

    Threads: 1 or all cores. Precision: bfloat16 where it is clearly quicker, which it is on processors with
    instructions for it; others only imitate it. A GPU is taken to have them if torch says so.
    """
    if images.device.type == "cuda":
        quick = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        return Pace(torch.get_num_threads(), quick if precision == "auto" else precision)
    choices = [
        Pace(count, kind)
        for kind in (("float32", "bfloat16") if precision == "auto" else (precision,))
        for count in ((1, cores()) if threads == 0 and cores() > 1 else (threads or 1,))
    ]
    if len(choices) == 1:
        return choices[0]
    _seconds(module, images, choices[-1])  # the first call also allocates
    return min(choices, key=lambda choice: _seconds(module, images, choice) * _DOUBT[choice.precision])


def keep(pace: Pace) -> None:
    """Compute with these threads from now on: sums in another order are other sums."""
    torch.set_num_threads(pace.threads)


_DOUBT = {"float32": 1.0, "bfloat16": 1.1}
"""Where the two are as quick as each other, the exact one."""


def _seconds(module: nn.Module, images: torch.Tensor, choice: Pace, repeats: int = 3) -> float:
    torch.set_num_threads(choice.threads)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=choice.precision == "bfloat16"):
            loss = sum(out.float().square().mean() for out in module(images))
        loss.backward()
        best = min(best, time.perf_counter() - start)
    module.zero_grad(set_to_none=True)
    return best
