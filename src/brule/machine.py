"""Which device and how many CPU threads: measured, since a second thread on a busy machine costs more than it gives."""

import os
import time

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


def quickest_threads(module: nn.Module, images: torch.Tensor, repeats: int = 3) -> int:
    """The number of threads, 1 or all cores, with which a forward and backward pass of `module` takes less time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            sum(out.square().mean() for out in module(images)).backward()
            best = min(best, time.perf_counter() - start)
        module.zero_grad(set_to_none=True)
        return best

    seconds(cores)  # the first call also allocates
    return min({1, cores}, key=seconds)
