"""Random numbers of a batch whose rows several processes share: drawn for all, and each process keeps its own.

So the numbers of an image are the same however many processes there are.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Part(torch.Generator):
    """torch's generator, in process `rank` of `ranks`, which has rows rank, rank + ranks, rank + 2·ranks … of a batch.

    A plain generator draws for a process that is alone.
    """

    rank, ranks = 0, 1

    def of(self, rank: int, ranks: int) -> "Part":
        """This generator, in that process."""
        self.rank, self.ranks = rank, ranks
        return self


def rand(*shape: int, generator: torch.Generator) -> Tensor:
    """Uniform in [0, 1), float32, on the generator's device; shape[0] counts this process's images."""
    return _rows(torch.rand, shape, generator)


def randn(*shape: int, generator: torch.Generator, dim: int = 0) -> Tensor:
    """Standard normal, as `rand`; shape[dim] counts the images."""
    return _rows(torch.randn, shape, generator, dim)


def randint(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Integers from low to high − 1, as `rand`."""
    return _rows(lambda size, **where: torch.randint(low, high, size, **where), shape, generator)


def _rows(draw: Callable[..., Any], shape: tuple[int, ...], generator: torch.Generator, dim: int = 0) -> Tensor:
    rank, ranks = (generator.rank, generator.ranks) if isinstance(generator, Part) else (0, 1)
    everyone = (*shape[:dim], shape[dim] * ranks, *shape[dim + 1 :])
    numbers: Tensor = draw(everyone, generator=generator, device=generator.device)
    return numbers if ranks == 1 else torch.unflatten(numbers, dim, (shape[dim], ranks)).select(dim + 1, rank)
