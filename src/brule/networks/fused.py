"""GroupNorm and ReLU in one, for a GPU: kernels in Triton, which comes with torch's builds for CUDA.

torch's own works in float32 on a copy in another order of memory, so that under mixed precision an activation is copied
four times and more. Here it is read twice and written once, and back likewise, as it lies.

With x̂ = (x − μ)·r, r = (σ² + ε)^-½ of a group, and z = γ·x̂ + β:

    y = max(z, 0),   ∂x = r·(γ·∂z − ⟨γ·∂z⟩ − x̂·⟨γ·∂z·x̂⟩),   ∂z = ∂y where z > 0,   ⟨·⟩: the mean over the group
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

CHANNELS = 16
"""Of a group."""
GROUP = tl.constexpr(CHANNELS)
SLICES = tl.constexpr(16)
"""So many programs share the pixels of an image. Each writes sums of its own, and whoever needs them adds them up."""
TILE, WARPS = 8192, 8
"""Numbers that a program holds at once, and how many warps it has."""


def norm_relu(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """max(γ·x̂ + β, 0) for x (B, C, H, W) in groups of 16 channels: of the same shape and type, channels last in memory.

    weight and bias: γ and β, (C,), float32. Differentiable once, in all three.
    """
    y: Tensor = _NormRelu.apply(x.contiguous(memory_format=torch.channels_last), weight, bias, eps)
    return y


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, sums = torch.empty_like(x), torch.empty(len(x), SLICES.value, 2, x.shape[1], device=x.device)
        grid, shape = (len(x), SLICES.value), _shape(x)
        _moments[grid](x, sums, *shape, num_warps=WARPS)
        _apply[grid](x, sums, weight, bias, y, *shape, eps, num_warps=WARPS)
        ctx.save_for_backward(x, sums, weight, bias)
        ctx.eps = eps
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, sums, weight, bias = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        dx, totals = torch.empty_like(x), torch.empty_like(sums)
        grid, shape = (len(x), SLICES.value), _shape(x)
        _totals[grid](x, gradient, sums, weight, bias, totals, *shape, ctx.eps, num_warps=WARPS)
        _back[grid](x, gradient, sums, totals, weight, bias, dx, *shape, ctx.eps, num_warps=WARPS)
        dbias, dweight = totals.sum((0, 1))
        return dx, dweight, dbias, None


def _shape(x: Tensor) -> tuple[int, int, int, int]:
    """(pixels of an image, channels, channels up to a power of two, pixels of a tile)."""
    _, channels, height, width = x.shape
    padded = triton.next_power_of_2(channels)
    return height * width, channels, padded, max(1, TILE // padded)


@triton.jit
def _tile(image, start, pixels, channels, PADDED: tl.constexpr, ROWS: tl.constexpr):
    """Where the pixels of an image from `start` on lie, and which of these numbers exist: (ROWS, PADDED) each."""
    row, c = start + tl.arange(0, ROWS), tl.arange(0, PADDED)
    place = (image.to(tl.int64) * pixels + row[:, None]) * channels + c[None, :]
    return place, (row[:, None] < pixels) & (c[None, :] < channels)


@triton.jit
def _channels(values, channels, PADDED: tl.constexpr):
    """γ or β, (PADDED,)."""
    c = tl.arange(0, PADDED)
    return tl.load(values + c, mask=c < channels, other=0.0)


@triton.jit
def _stored(sums, image, piece, first, second, channels, PADDED: tl.constexpr):
    """Write the two sums of every channel over a slice of an image. sums: (B, SLICES, 2, C), float32."""
    c = tl.arange(0, PADDED)
    place = sums + (image * SLICES + piece) * 2 * channels + c
    tl.store(place, first, mask=c < channels)
    tl.store(place + channels, second, mask=c < channels)


@triton.jit
def _normal_and_dz(x, dy, place, inside, mean, r, gamma, beta):
    """x̂ and ∂z of a tile."""
    normal = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * r[None, :]
    dz = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
    return normal, tl.where(normal * gamma[None, :] + beta[None, :] > 0, dz, 0.0)


@triton.jit(do_not_specialize=["pixels"])
def _moments(x, sums, pixels, channels, PADDED: tl.constexpr, ROWS: tl.constexpr):
    """Σ x and Σ x² of each channel over each slice of an image."""
    image, piece = tl.program_id(0), tl.program_id(1)
    total = tl.zeros((PADDED,), tl.float32)
    squares = tl.zeros((PADDED,), tl.float32)
    for start in range(piece * ROWS, pixels, SLICES * ROWS):
        place, inside = _tile(image, start, pixels, channels, PADDED, ROWS)
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(value, 0)
        squares += tl.sum(value * value, 0)
    _stored(sums, image, piece, total, squares, channels, PADDED)


@triton.jit
def _added(sums, image, channels, PADDED: tl.constexpr):
    """The two sums of every channel over all slices of an image: (PADDED,) each."""
    c, s = tl.arange(0, PADDED), tl.arange(0, SLICES)
    place = sums + (image * SLICES + s[:, None]) * 2 * channels + c[None, :]
    first = tl.load(place, mask=c[None, :] < channels, other=0.0)
    second = tl.load(place + channels, mask=c[None, :] < channels, other=0.0)
    return tl.sum(first, 0), tl.sum(second, 0)


@triton.jit
def _grouped(value, PADDED: tl.constexpr):
    """The sum over its group, for each channel: (PADDED,)."""
    total = tl.sum(tl.reshape(value, (PADDED // GROUP, GROUP)), 1)
    return tl.reshape(tl.broadcast_to(total[:, None], (PADDED // GROUP, GROUP)), (PADDED,))


@triton.jit
def _statistics(sums, image, pixels, channels, eps, PADDED: tl.constexpr):
    """μ and r of each channel's group: (PADDED,) each."""
    total, squares = _added(sums, image, channels, PADDED)
    count = pixels * GROUP
    mean = _grouped(total, PADDED) / count
    variance = _grouped(squares, PADDED) / count - mean * mean
    return mean, 1 / tl.sqrt(tl.maximum(variance, 0.0) + eps)


@triton.jit(do_not_specialize=["pixels"])
def _apply(x, sums, weight, bias, y, pixels, channels, PADDED: tl.constexpr, ROWS: tl.constexpr, eps):
    image, piece = tl.program_id(0), tl.program_id(1)
    mean, r = _statistics(sums, image, pixels, channels, eps, PADDED)
    gamma, beta = _channels(weight, channels, PADDED), _channels(bias, channels, PADDED)
    for start in range(piece * ROWS, pixels, SLICES * ROWS):
        place, inside = _tile(image, start, pixels, channels, PADDED, ROWS)
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        z = (value - mean[None, :]) * r[None, :] * gamma[None, :] + beta[None, :]
        tl.store(y + place, tl.where(z < 0, 0.0, z).to(y.dtype.element_ty), mask=inside)  # what is NaN stays NaN


@triton.jit(do_not_specialize=["pixels"])
def _totals(x, dy, sums, weight, bias, totals, pixels, channels, PADDED: tl.constexpr, ROWS: tl.constexpr, eps):
    """Σ ∂z and Σ ∂z·x̂ of each channel over each slice, as `sums` are."""
    image, piece = tl.program_id(0), tl.program_id(1)
    mean, r = _statistics(sums, image, pixels, channels, eps, PADDED)
    gamma, beta = _channels(weight, channels, PADDED), _channels(bias, channels, PADDED)
    first = tl.zeros((PADDED,), tl.float32)
    second = tl.zeros((PADDED,), tl.float32)
    for start in range(piece * ROWS, pixels, SLICES * ROWS):
        place, inside = _tile(image, start, pixels, channels, PADDED, ROWS)
        normal, dz = _normal_and_dz(x, dy, place, inside, mean, r, gamma, beta)
        first += tl.sum(dz, 0)
        second += tl.sum(dz * normal, 0)
    _stored(totals, image, piece, first, second, channels, PADDED)


@triton.jit(do_not_specialize=["pixels"])
def _back(x, dy, sums, totals, weight, bias, dx, pixels, channels, PADDED: tl.constexpr, ROWS: tl.constexpr, eps):
    image, piece = tl.program_id(0), tl.program_id(1)
    mean, r = _statistics(sums, image, pixels, channels, eps, PADDED)
    gamma, beta = _channels(weight, channels, PADDED), _channels(bias, channels, PADDED)
    first, second = _added(totals, image, channels, PADDED)
    count = pixels * GROUP
    one, two = _grouped(first * gamma, PADDED) / count, _grouped(second * gamma, PADDED) / count
    for start in range(piece * ROWS, pixels, SLICES * ROWS):
        place, inside = _tile(image, start, pixels, channels, PADDED, ROWS)
        normal, dz = _normal_and_dz(x, dy, place, inside, mean, r, gamma, beta)
        gradient = r[None, :] * (dz * gamma[None, :] - one[None, :] - normal * two[None, :])
        tl.store(dx + place, gradient.to(dx.dtype.element_ty), mask=inside)
