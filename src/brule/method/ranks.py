"""Several processes that train as one: what they tell each other, by torch.distributed, whose only door this is.

torchrun's environment is the only switch. Process r of w holds the rows r, r + w, r + 2w … of every batch. This choice
commutes with joining two batches and with cutting off the first rows, as long as w divides their sizes. With one
process every function here gives back what it was given.

Every process takes the same steps on the same numbers, so they never part; what only one can measure, rank 0 measures
for all. In a graph, losses are means over own rows, and gradients those of their sum over all processes.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from brule.errors import BruleError

T = TypeVar("T")


@contextmanager
def together(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes for the body of the `with`; yields this one's device, its own GPU where there are some.

    Raises BruleError where torchrun's environment is incomplete, or where there are fewer GPUs than processes.
    """
    try:
        ranks, local = (
            int(os.environ.get(name) or default) for name, default in (("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
    except ValueError:
        raise BruleError("WORLD_SIZE and LOCAL_RANK in the environment are no numbers; start with torchrun") from None
    if ranks == 1:
        yield device
        return
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise BruleError(
                f"machine.device: there are {torch.cuda.device_count()} GPUs here, fewer than processes; "
                "lower --nproc-per-node, or set machine.device: cpu"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    except ValueError as error:  # a variable is missing
        raise BruleError(f"WORLD_SIZE is {ranks}, but {error}; start with torchrun, or unset WORLD_SIZE") from None
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which one this is; rank 0 alone writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


# ----------------------------------------------------------------------------------------------------- rows of a batch


def own(rows: T) -> T:
    """This process's rows of a global batch (w·B, …), a tensor or an array: (B, …)."""
    return rows if count() == 1 else rows[rank() :: count()]  # type: ignore[index]


def whole(x: Tensor) -> Tensor:
    """The global batch (w·B, …) of which this process holds x (B, …); differentiable as often as wanted."""
    if count() == 1:
        return x
    gathered: Tensor = _Gathered.apply(x)  # type: ignore[no-untyped-call]
    return gathered


class _Gathered(torch.autograd.Function):
    """Every process gets all rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(count())]
        _call(distributed.all_gather, parts, x.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Summed.apply(*gradients)  # type: ignore[no-untyped-call]


class _Summed(torch.autograd.Function):
    """Every process gets the sum over all of its own rows: the transpose of gathering, and the other way round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        _call(distributed.all_reduce, total)
        return own(total)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Gathered.apply(*gradients)  # type: ignore[no-untyped-call]


# --------------------------------------------------------------------------------------------------- what all agree on


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Put in each tensor's place its mean over the processes, all of them in one message."""
    if count() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    _call(distributed.all_reduce, flat)
    parts = torch.split(flat / count(), [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def largest(number: int) -> int:
    """The largest of the processes' numbers."""
    if count() == 1:
        return number
    found = torch.tensor(number)
    _call(distributed.all_reduce, found, distributed.ReduceOp.MAX)
    return int(found)


def told(message: Callable[[], bytes]) -> bytes:
    """Rank 0's message, in every process; the others never call theirs."""
    if count() == 1:
        return message()
    data = torch.from_numpy(np.frombuffer(message() if rank() == 0 else b"", np.uint8).copy())
    size = torch.tensor(len(data))
    _call(distributed.broadcast, size, 0)
    if int(size) == 0:
        return b""
    data = data if rank() == 0 else data.new_empty(int(size))
    _call(distributed.broadcast, data, 0)
    return data.numpy().tobytes()


def decided(answer: Callable[[], T]) -> T:
    """Rank 0's answer, of what JSON can hold, NaN included."""
    if count() == 1:
        return answer()
    found: T = json.loads(told(lambda: json.dumps(answer()).encode()))
    return found


def _call(message: Callable[..., object], *arguments: object) -> None:
    try:
        message(*arguments)
    except RuntimeError as error:
        if not isinstance(error, distributed.DistBackendError) and "gloo/transport" not in str(error):
            raise
        raise BruleError(
            f"process {rank()} of {count()} has lost another; see what that one said; the same command resumes"
        ) from error
