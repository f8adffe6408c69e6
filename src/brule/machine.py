"""Which device, how many CPU threads, and which precision: measured, since every machine is fast at something else.

And what each of several processes gets of it.
"""

import os
import time
from dataclasses import dataclass

import torch
from torch import nn

from brule.errors import BruleError


def device(name: str) -> torch.device:
    """The device of `machine.device`; `auto` is the GPU if there is one. Raises BruleError naming the key."""
    if name == "auto":
        return _prepared(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise BruleError(f"machine.device: {name!r} is not a device; use auto, cpu or cuda") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BruleError("machine.device: is cuda, but torch finds no GPU here; use auto or cpu")
    return _prepared(chosen)


def _prepared(device: torch.device) -> torch.device:
    """On a GPU, cuDNN tries its algorithms once for each shape, since the shapes of training repeat.

    Matrix products in float32 stay exact: thin-plate splines and the fits of transport need the digits that TF32 drops.
    Convolutions in float32 (the penalty R1) use TF32, torch's default. On a CPU a resumed run repeats the original bit
    by bit, on a GPU up to rounding.
    """
    torch.backends.cudnn.benchmark = device.type == "cuda"
    torch.set_float32_matmul_precision("highest")
    return device


def cores() -> int:
    """The number of CPU cores that this process may use, which can be fewer than the machine has.

    Processes that torchrun starts together on a machine share its cores.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def share(workers: int) -> int:
    """The CPU threads of each of so many processes that work at once."""
    return max(1, cores() // workers)


def gpus() -> int:
    """The number of GPUs that this process may use."""
    return torch.cuda.device_count()


def pin(number: int, device: str) -> dict[str, str]:
    """What the environment of the n-th of several processes says, from 0, so that each has a GPU of its own.

    They are taken in turn from those that this process sees. Empty where there is none, and where `machine.device` asks
    for the CPU or for one certain GPU.
    """
    if device not in ("auto", "cuda") or not (count := gpus()):
        return {}
    named = os.environ.get("CUDA_VISIBLE_DEVICES")  # numbers of the machine's, or names
    visible = [str(index) for index in range(count)] if named is None else named.split(",")[:count]
    return {"CUDA_VISIBLE_DEVICES": visible[number % len(visible)]}


@dataclass(frozen=True)
class Pace:
    """How a run computes on this machine."""

    threads: int
    """CPU threads."""
    precision: str
    """float32 or bfloat16, for convolutions."""


def pace(module: nn.Module, images: torch.Tensor, threads: int, precision: str) -> Pace:
    """The threads and precision of `machine.threads` and `machine.precision`; what they leave open is measured.

    0 threads means 1 or all cores, and precision `auto` means bfloat16 if it is clearly faster, whichever forward and
    backward passes of `module` are fastest. bfloat16 is faster on processors with instructions for it; others only
    emulate it. For a GPU torch's word is taken.
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
    _seconds(module, images, choices[0], repeats=1)  # the first call also allocates memory
    times: dict[Pace, float] = {}
    for choice in choices:
        times[choice] = _seconds(module, images, choice, min(times.values(), default=float("inf")))
    return min(choices, key=lambda choice: times[choice] * _DOUBT[choice.precision])


def keep(pace: Pace) -> None:
    """Compute with this number of threads from now on. Another number would change the order of sums."""
    torch.set_num_threads(pace.threads)


_DOUBT = {"float32": 1.0, "bfloat16": 1.1}
"""Factors on the measured times: if the two are equally fast, the exact one wins."""


def _seconds(
    module: nn.Module, images: torch.Tensor, choice: Pace, rival: float = float("inf"), repeats: int = 3
) -> float:
    """The fastest of the repeats. What takes thrice as long as the rival at once has lost, and is not repeated."""
    torch.set_num_threads(choice.threads)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=choice.precision == "bfloat16"):
            loss = sum(out.float().square().mean() for out in module(images))
        loss.backward()
        best = min(best, time.perf_counter() - start)
        if best > 3 * rival:
            break
    module.zero_grad(set_to_none=True)
    return best
