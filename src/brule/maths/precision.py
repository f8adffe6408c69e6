"""Geometry, transport and log-softmax stay in float32 whatever the surrounding mixed precision is."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` outside autocast, its half-precision tensors promoted to float32; float64 stays float64.

    All-bfloat16 geometry costs up to 0.37 px, and a matrix product under autocast is bfloat16 even for float32 inputs.
    The device is that of the first argument which has one (a tensor, a warp, a generator).
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        owners = (getattr(value, "device", None) for value in (*args, *kwargs.values()))
        device = next((owner for owner in owners if isinstance(owner, torch.device)), torch.device("cpu"))
        call = cast(Callable[..., R], function)
        with torch.autocast(device.type, enabled=False):
            return call(*map(_promote, args), **{name: _promote(value) for name, value in kwargs.items()})

    return wrapped


def _promote(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value
