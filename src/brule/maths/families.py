"""Families of g: what is drawn at random, afresh for each image of a batch.

The paper's family is affine and elastic (section 4); `towards` draws the thin-plate part from the prior of shapes.
"""

from dataclasses import dataclass
from math import ceil, log, pi

import torch
from torch import Tensor

from brule.maths.linear import apply
from brule.maths.precision import full_precision
from brule.maths.transport import similarity


@dataclass(frozen=True)
class Family:
    """A family of random deformations; 1 is the width of the image."""

    rotation: float = 15.0
    """Degrees, uniform in ±rotation."""
    shift: float = 0.06
    """Uniform in ±shift."""
    scale: float = 0.10
    """log-uniform in [1/(1 + scale), 1 + scale]."""
    elastic: float = 0.009
    """Standard deviation of the elastic displacement."""
    correlation: float = 0.04
    """Its correlation length: the σ of the Gaussian that smooths white noise."""
    amplitude: float = 0.0
    """For `towards`: how far the thin-plate warp goes; `Warp.sample` takes the finished destination."""


@full_precision
def towards(points: Tensor, shapes: Tensor, amplitude: float, generator: torch.Generator) -> Tensor:
    """points + amplitude·√U·(s − points): towards a random shape s of the set, aligned to the points by a similarity.

    points (B, K, 2), shapes (M, K, 2) → (B, K, 2). s and U ~ uniform[0, 1] are drawn per image.
    """
    batch = points.shape[0]
    chosen = torch.randint(len(shapes), (batch,), generator=generator, device=generator.device)
    aligned = similarity(shapes[chosen].to(points), points)
    share = torch.rand(batch, 1, 1, generator=generator, device=generator.device).sqrt()
    return points + amplitude * share * (aligned - points)


def affine(family: Family, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A⁻¹p = linear·p + offset of random rotations, scales and shifts about the frame's centre."""
    draws = 2 * torch.rand(batch, 4, generator=generator, device=generator.device) - 1
    angle = draws[:, 0] * (family.rotation * pi / 180)
    shrink = (-draws[:, 1] * log(1 + family.scale)).exp()
    cosine, sine = shrink * angle.cos(), shrink * angle.sin()
    linear = torch.stack((cosine, sine, -sine, cosine), dim=-1).view(-1, 2, 2)
    middle = linear.new_full((batch, 1, 2), 0.5)
    offset = middle - apply(linear, middle + family.shift * draws[:, None, 2:])
    return linear, offset[:, 0]


def elastic(family: Family, batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Stationary Gaussian displacements (B, 2, S, S) of standard deviation `elastic`, smoothed over `correlation`."""
    if family.elastic == 0:
        return torch.zeros(batch, 2, size, size, device=generator.device)
    sigma = family.correlation * size
    reach = ceil(3 * sigma)
    noise = torch.randn(batch, 2, size + 2 * reach, size + 2 * reach, generator=generator, device=generator.device)
    places = torch.arange(size + 2 * reach, device=generator.device)
    distance = (places - reach - torch.arange(size, device=generator.device)[:, None]).float()
    kernel = torch.where(distance.abs() <= reach, (-0.5 * (distance / sigma).square()).exp(), 0.0)
    kernel = kernel / kernel.square().sum(1, keepdim=True).sqrt()  # unit variance stays unit variance
    return family.elastic * (kernel @ noise @ kernel.T)
