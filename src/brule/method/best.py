"""The checkpoint that ships, and what decides that it does."""

from dataclasses import dataclass, field

import torch

Row = dict[str, float | int | str]


@dataclass
class Best:
    """The checkpoint that ships: lowest validation W₁ among those without an alarm."""

    score: float = float("inf")
    iteration: int = 0
    healthy: bool = False
    row: Row = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    encoder: dict[str, torch.Tensor] = field(default_factory=dict)
