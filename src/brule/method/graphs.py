"""CUDA graphs: what an iteration does over and over is recorded once, and played back in one launch.

An iteration is some thousands of kernels, most of which end before Python has launched the next. A recorded function
sees its inputs at fixed places in memory, and nothing in it may ask the CPU: no branch on a value, no copy from or to
the CPU. What it draws from its generator follows the generator's seed, as if it were called.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from brule import config
from brule.method import ranks

Given = Sequence[Tensor | None]
Found = dict[str, Tensor]
Function = Callable[..., Found]

CALLS = 3
"""A function is called so often before it is recorded: libraries make their handles and choose their algorithms."""


def used(machine: config.Machine, device: torch.device) -> bool:
    """Of several processes none records: what they tell each other stays outside of graphs."""
    return not machine.eager and device.type == "cuda" and ranks.count() == 1


class Play(Protocol):
    """Calls a function of tensors. `key`: what else it depends on; None: it is never recorded."""

    def __call__(self, key: Hashable | None, function: Function, inputs: Given, generator: Generator) -> Found: ...


def plainly(key: Hashable | None, function: Function, inputs: Given, generator: Generator) -> Found:
    """Calls the function, kernel by kernel."""
    return function(*inputs)


class Player:
    """Calls functions on a GPU, and records those that come back with the same key and shapes."""

    def __init__(self, device: torch.device) -> None:
        # CUDA records on no default stream
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()
        self._calls: Counter[Hashable] = Counter()
        self._recordings: dict[Hashable, _Recording] = {}

    @contextmanager
    def beside(self) -> Iterator[None]:
        """In the body of the `with` the GPU works on this player's stream, after what was asked of it before."""
        outside = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            yield
        outside.wait_stream(self.stream)

    def __call__(self, key: Hashable | None, function: Function, inputs: Given, generator: Generator) -> Found:
        """What `function(*inputs)` returns. `generator`: the one it draws from, the same object in all calls."""
        if key is None:
            return function(*inputs)
        known = key, tuple(None if x is None else x.shape for x in inputs)
        self._calls[known] += 1
        if self._calls[known] <= CALLS:
            return function(*inputs)
        if known not in self._recordings:
            self._recordings[known] = _Recording(function, inputs, generator, self._memory)
        return self._recordings[known].play(inputs)

    def forget(self) -> None:
        """What no key tells of has changed: coefficients, precision, or where the state of an optimiser lies."""
        self._calls.clear()
        self._recordings.clear()
        self._memory = torch.cuda.graph_pool_handle()  # the old one ends with what still lies there, such as gradients


class _Recording:
    """One function as a graph. Nothing is computed while it is recorded.

    Graphs share their memory, so that all of them need hardly more than the largest. What one returns is copied at
    once: the next replay, its own or another's, writes over it.
    """

    def __init__(self, function: Function, inputs: Given, generator: Generator, memory: Any) -> None:
        self.inputs = [None if x is None else x.clone() for x in inputs]
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(generator)
        # thread_local: what other threads ask of the GPU meanwhile is none of the recording's business
        with torch.cuda.graph(self.graph, memory, torch.cuda.current_stream(), "thread_local"):
            self.outputs = function(*self.inputs)

    def play(self, inputs: Given) -> Found:
        for place, x in zip(self.inputs, inputs, strict=True):
            if place is not None and x is not None:
                place.copy_(x, non_blocking=True)
        self.graph.replay()
        return {name: value.clone() for name, value in self.outputs.items()}
