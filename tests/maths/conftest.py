"""Shapes for the tests of the mathematics: 68 points laid out like a face, bent at random."""

import math

import pytest
import torch
from torch import Tensor


def _arc(centre: tuple[float, float], radii: tuple[float, float], start: float, stop: float, count: int) -> Tensor:
    angles = torch.linspace(start, stop, count, dtype=torch.float64) * math.pi
    return torch.stack((centre[0] + radii[0] * angles.cos(), centre[1] + radii[1] * angles.sin()), dim=-1)


def _line(start: tuple[float, float], stop: tuple[float, float], count: int) -> Tensor:
    share = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    return torch.tensor(start) + share * (torch.tensor(stop) - torch.tensor(start))


@pytest.fixture(scope="session")
def template() -> Tensor:
    """(68, 2) float64 in iBUG order: jaw, brows, nose, eyes, mouth."""
    step = 1 / 3
    parts = [
        _arc((0.5, 0.40), (0.36, 0.44), 1, 0, 17),
        _arc((0.33, 0.30), (0.11, 0.05), 1, 2, 5),
        _arc((0.67, 0.30), (0.11, 0.05), 1, 2, 5),
        _line((0.5, 0.36), (0.5, 0.52), 4),
        _line((0.43, 0.57), (0.57, 0.57), 5),
        _arc((0.34, 0.38), (0.065, 0.03), 1, 1 + 5 * step, 6),
        _arc((0.66, 0.38), (0.065, 0.03), 1, 1 + 5 * step, 6),
        _arc((0.5, 0.70), (0.13, 0.06), 1, 1 + 11 / 6, 12),
        _arc((0.5, 0.70), (0.10, 0.025), 1, 1 + 7 / 4, 8),
    ]
    return torch.cat(parts)


@pytest.fixture(scope="session")
def faces(template: Tensor) -> Tensor:
    """(60, 68, 2) float64: the template under smooth random bends, stretches and shifts."""
    generator = torch.Generator().manual_seed(7)
    waves = 2 * math.pi * torch.randn(60, 2, 2, generator=generator, dtype=torch.float64)
    phases = 2 * math.pi * torch.rand(60, 1, 2, generator=generator, dtype=torch.float64)
    bend = 0.025 * (template @ waves + phases).sin()
    stretch = 1 + 0.1 * torch.randn(60, 1, 2, generator=generator, dtype=torch.float64)
    shift = 0.02 * torch.randn(60, 1, 2, generator=generator, dtype=torch.float64)
    return (template - 0.5) * stretch + 0.5 + shift + bend
