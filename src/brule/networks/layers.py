"""Layers that generator, discriminator and style networks share (the paper, section 3, after StyleGAN2).

All are made of twice differentiable operations, which R1 needs. Images and maps run in channels_last; where mixed
precision is on, the convolutions run in bfloat16 and the parameters stay in float32.
"""

from functools import cache
from math import sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
GAIN = sqrt(2.0)
"""Restores the variance that a leaky ReLU takes away. It is multiplied into the weights before the activation, which is
the same since leaky_relu(g·x) = g·leaky_relu(x) for g > 0, and saves a pass over the activations."""

Resample = Literal["none", "up", "down"]


def resolutions(image_size: int) -> list[int]:
    """[4, 8, …, image_size], pixels. ValueError unless image_size is a power of two of at least 8."""
    if image_size < 8 or image_size & (image_size - 1):
        raise ValueError(f"image_size = {image_size}: must be a power of two of at least 8")
    return [1 << power for power in range(2, image_size.bit_length())]


def halvings(image_size: int, map_size: int) -> int:
    """log2(image_size / map_size). ValueError unless map_size is one of `resolutions(image_size)`."""
    if map_size not in resolutions(image_size):
        raise ValueError(f"map_size = {map_size}: must be a power of two from 4 to image_size = {image_size}")
    return (image_size // map_size).bit_length() - 1


def channels(image_size: int, width: int, max_width: int) -> dict[int, int]:
    """Resolution → channels: min(max_width, width·image_size/resolution), so each halving doubles them."""
    return {size: min(max_width, width * image_size // size) for size in resolutions(image_size)}


def channels_last(x: Tensor) -> Tensor:
    """The same (B, C, H, W), stored pixel by pixel: what the convolutions below are fastest on."""
    return x.contiguous(memory_format=torch.channels_last)


def wide(x: Tensor) -> Tensor:
    """At least float32: for sums and roots that bfloat16 is too coarse for."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU in place; its gain is in the weights (see GAIN)."""
    return F.leaky_relu(x, SLOPE, inplace=True)


def pixel_norm(z: Tensor) -> Tensor:
    """z / √(mean(z²) + 1e-8) over the last dimension: (B, N) → (B, N)."""
    return z * (z.square().mean(-1, keepdim=True) + 1e-8).rsqrt()


def blurred(weight: Tensor) -> Tensor:
    """3×3 kernels blurred by a 2×2 box of sum 1: (O, I, 3, 3) → (O, I, 4, 4), as one matrix product."""
    return (weight.flatten(2) @ _box(weight.device, weight.dtype)).reshape(*weight.shape[:2], 4, 4)


@cache
def _box(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(9, 16): row r is the 4×4 picture of the r-th tap of a 3×3 kernel after the blur."""
    with torch.inference_mode(False), torch.no_grad():
        taps = torch.eye(9, device=device, dtype=dtype).view(9, 1, 3, 3)
        return F.avg_pool2d(F.pad(taps, (1, 1, 1, 1)), 2, stride=1).flatten(1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, resample: Resample) -> Tensor:
    """3×3 or 1×1 convolution, optionally with a blurred change of resolution, in one call.

    "down": convolution, 2×2 box blur, every second pixel. "up": transposed convolution of stride 2 (kernels flipped, so
    that weights mean the same everywhere), then the 2×2 box blur of sum 4. The blur is linear and fixed, so it is
    folded into the weights: one 4×4 convolution of stride 2 instead of two passes over the larger image. An even blur
    keeps half-pixel centres where they were, which landmarks need.

    x: (B, I, H, W); weight: (O, I, k, k), k = 3 where resampled; bias: (O,); returns (B, O, H·{1, 2, ½}, W·{1, 2, ½}).
    """
    if resample == "none":
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    if resample == "down":
        return F.conv2d(x, blurred(weight), bias, stride=2, padding=1)
    return F.conv_transpose2d(x, 4 * blurred(weight).flip(2, 3).transpose(0, 1), bias, stride=2, padding=1)


class EqualLinear(nn.Module):
    """y = gain·(W x/√inputs + b), W ~ N(0, 1): equalised learning rate, all weights move at one relative speed."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activate: bool = False,  # leaky ReLU with gain √2
        bias: float = 0.0,  # initial value
        rate: float = 1.0,  # learning rate of this layer relative to the others
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        gain = GAIN if activate else 1.0
        self.activate, self.scale, self.bias_scale = activate, gain * rate / sqrt(inputs), gain * rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) → (B, outputs)."""
        y = F.linear(x, self.weight * self.scale, self.bias * self.bias_scale)
        return leaky(y) if self.activate else y


class EqualConv(nn.Module):
    """Convolution with equalised learning rate, as EqualLinear, optionally changing the resolution (see `convolve`)."""

    def __init__(
        self,
        inputs: int,  # channels
        outputs: int,  # channels
        kernel: int,  # pixels: 1 or 3
        *,
        resample: Resample = "none",
        activate: bool = True,  # leaky ReLU with gain √2
        bias: bool = True,
        gain: float = 1.0,  # of the output, on top of the activation's
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.bias_scale = gain * (GAIN if activate else 1.0)
        self.scale = self.bias_scale / sqrt(inputs * kernel**2)
        self.activate, self.resample = activate, resample

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H', W')."""
        bias = None if self.bias is None else self.bias * self.bias_scale
        y = convolve(x, self.weight * self.scale, bias, self.resample)
        return leaky(y) if self.activate else y


class ModulatedConv(nn.Module):
    """StyleGAN2's modulated 3×3 convolution: image b is convolved with its own weights w_b, demodulated to unit norm.

    w_b[o, i] = s_b[i]·w[o, i] / ‖s_b·w[o]‖, with s = affine(style). Instead of B sets of weights it scales the input's
    channels by s and the output's by 1/‖s_b·w[o]‖: the same by linearity, in one plain convolution. The norm divides
    any constant factor away, so equalised learning rate needs none here.
    """

    def __init__(
        self,
        inputs: int,  # channels
        outputs: int,  # channels
        style_size: int,
        *,
        resample: Resample = "none",
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(style_size, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.resample = resample

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (B, inputs, H, W); style: (B, style_size); returns (B, outputs, H', W'), after leaky ReLU with gain √2."""
        s = self.affine(style)  # (B, inputs)
        y = convolve(x * s[:, :, None, None].to(x.dtype), self.weight, None, self.resample)
        factor = GAIN * self._inverse_norm(s)[:, :, None, None]
        return leaky(torch.addcmul(GAIN * self.bias[:, None, None].to(y.dtype), y, factor.to(y.dtype)))

    def _inverse_norm(self, s: Tensor) -> Tensor:
        """1 / ‖s_b·w[o]‖, (B, outputs)."""
        with torch.autocast(s.device.type, enabled=False):  # a norm is a long sum: float32
            energy = self.weight.square().sum((2, 3))  # (outputs, inputs)
            return (wide(s).square() @ energy.T + 1e-8).rsqrt()


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to RGB, neither demodulated nor activated: one matrix product per image."""

    def __init__(self, inputs: int, style_size: int) -> None:
        super().__init__()
        self.affine = EqualLinear(style_size, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(inputs, 3))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (B, inputs, H, W); style: (B, style_size); returns (B, 3, H, W), in float32 at least."""
        s = self.affine(style) / sqrt(self.weight.shape[0])
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H·W, inputs): channels_last is stored so
        rgb = wide(pixels @ (s[:, :, None] * self.weight).to(x.dtype)) + self.bias
        return rgb.mT.reshape(-1, 3, *x.shape[2:])


class MinibatchDeviation(nn.Module):
    """Appends one channel: how much an image differs from others of its batch, so that D sees a lack of variety.

    The group of image b is b, b+1, …, b+group−1, counted round the batch: every batch size has full groups, which
    blocks of a fixed size would not give. A batch of at most `group` images is one group: its order does not matter.
    """

    def __init__(self, group: int = 4) -> None:  # images
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C + 1, H, W)."""
        y = wide(x)
        members = torch.stack([y.roll(-shift, 0) for shift in range(min(self.group, len(y)))])  # (group, B, C, H, W)
        variance = (members - members.mean(0)).square().mean(0)
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
        return torch.cat([x, deviation.to(x.dtype).expand(-1, 1, *x.shape[2:])], 1)
