"""Photometric changes that leave the geometry alone: the warped view of R_g must be recognised under any light."""

from functools import cache
from math import ceil

import torch
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from torch import Tensor

from brule.maths import draws

LUMA = (0.299, 0.587, 0.114)


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gamma, contrast, brightness, channel gain, grey, blur and noise, drawn independently per image.

    images (B, 3, S, S) in [−1, 1] → the same shape and range. strength 0 changes nothing, 1 is very strong.
    """
    if strength == 0:
        return images
    batch = images.shape[0]

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        uniform = draws.rand(batch, channels, 1, 1, generator=generator)
        return low + (high - low) * uniform

    light = ((images + 1) / 2).clamp(1e-3, 1) ** (0.8 * strength * draw(-1, 1)).exp()
    mean = light.mean((1, 2, 3), keepdim=True)
    light = mean + (light - mean) * (0.8 * strength * draw(-1, 1)).exp() + 0.5 * strength * draw(-1, 1)
    light = light * (0.5 * strength * draw(-1, 1, channels=3)).exp()
    grey = (light * _luma(light.device, light.dtype)).sum(1, keepdim=True)
    light = torch.where(draw(0, 1) < strength / 4, grey, light)
    light = light.lerp(_blurred(light), (strength * draw(-1, 2)).clamp(0, 1))
    noise = draws.randn(*images.shape, generator=generator)
    return ((light + 0.1 * strength * draw(0, 1) * noise) * 2 - 1).clamp(-1, 1).to(images.dtype)


@cache
def _luma(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(1, 3, 1, 1). Made once: a copy from the CPU would wait for the GPU each time."""
    with torch.inference_mode(False):
        return torch.tensor(LUMA, device=device, dtype=dtype).view(1, 3, 1, 1)


def _blurred(images: Tensor) -> Tensor:
    blur = _blur(images.shape[-1], images.device, images.dtype)
    return blur @ images @ blur.mT


@cache
def _blur(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(S, S): the Gaussian along one axis, reflected at the borders, as a matrix: several times as fast as a filter.

    Made once, as the luma.
    """
    sigma = size / 64
    with torch.inference_mode(False):
        kernel = get_gaussian_kernel1d(2 * ceil(2 * sigma) + 1, sigma, device=device, dtype=dtype)
        none = torch.ones_like(kernel[:, :1])
        taps = torch.eye(size, device=device, dtype=dtype)[None, None]
        return filter2d_separable(taps, none, kernel, "reflect")[0, 0]


def cutout(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Blank one rectangle of a random flat colour in a share `probability` of the images.

    images (B, C, S, S) in [−1, 1] → the same. Sides are 15–45 % of the width; the centre lies anywhere in the frame.
    """
    if probability == 0:
        return images
    batch, channels, height, width = images.shape

    def draw(columns: int) -> Tensor:
        return draws.rand(batch, columns, generator=generator)

    chosen = draw(1) < probability
    middle, half = draw(2), 0.075 + 0.15 * draw(2)
    colour = (draw(channels) * 2 - 1).to(images.dtype)
    x = (torch.arange(width, device=images.device) + 0.5) / width
    y = (torch.arange(height, device=images.device) + 0.5) / height
    columns = (x - middle[:, :1]).abs() < half[:, :1]
    rows = (y - middle[:, 1:]).abs() < half[:, 1:]
    inside = (rows & chosen)[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside, colour[:, :, None, None], images)
