"""Which device, how many CPU threads, and which precision; and what each of several processes gets of it."""

import ctypes
import os
import sys
from dataclasses import dataclass

import torch

from brule import cores
from brule.errors import BruleError, counted


def device(name: str) -> torch.device:
    """The device of `machine.device`; `auto` is the GPU if there is one. Raises BruleError naming the key."""
    if name == "auto":
        return _prepared(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        chosen = torch.device(name)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise BruleError(f"machine.device: {name!r} is not a device; use auto, cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BruleError("machine.device: is cuda, but torch finds no GPU here; use auto or cpu")
    if chosen.index and chosen.index >= gpus():
        raise BruleError(f"machine.device: is {name}, but torch finds {counted(gpus(), 'GPU')} here, from cuda:0")
    return _prepared(chosen)


def _prepared(device: torch.device) -> torch.device:
    """On a GPU, cuDNN tries its algorithms once for each shape, since the shapes of training repeat.

    Matrix products in float32 stay exact: thin-plate splines and the fits of transport need the digits that TF32 drops.
    Convolutions in float32 (the penalty R1) use TF32, torch's default. On a CPU a resumed run repeats the original bit
    by bit, on a GPU up to rounding.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # kernels of our own go where torch's current device is
    torch.backends.cudnn.benchmark = device.type == "cuda"
    torch.set_float32_matmul_precision("highest")
    return device


def share(workers: int) -> int:
    """The CPU threads of each of so many processes that work at once."""
    return max(1, cores.available() // workers)


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


_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""What torch calls the instructions with which bfloat16 is faster than float32."""


def pace(device: torch.device, threads: int, precision: str) -> Pace:
    """The threads and precision of `machine.threads` and `machine.precision`; what they leave open the machine decides.

    0 threads means all cores. Precision `auto` means bfloat16 where the processor has instructions for it; others only
    emulate it. Nothing is timed: either changes how sums are rounded, and two runs of one seed on one machine are the
    same.
    """
    if device.type == "cuda":
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
        threads = threads or torch.get_num_threads()
    else:
        quick = any(torch.cpu.get_capabilities().get(name) for name in _BFLOAT16)
        threads = threads or cores.available()
    return Pace(threads, ("bfloat16" if quick else "float32") if precision == "auto" else precision)


def keep(pace: Pace) -> None:
    """Compute with this number of threads from now on, and keep freed memory.

    Another number of threads would change the order of sums.
    """
    torch.set_num_threads(pace.threads)
    _keep_memory()


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Their numbers in glibc's malloc.h."""


def _keep_memory() -> None:
    """From now on memory that is freed stays with this process, for its next tensors.

    glibc gives every large block back at once, and the kernel clears its pages anew for the next tensor, thousands in
    each iteration. Other C libraries are left as they are.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(M_TRIM_THRESHOLD, -1)  # never
        set_option(M_MMAP_MAX, 0)  # no block has pages of its own
