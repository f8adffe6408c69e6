"""L → X_L, L_sp and H(· ‖ ·): landmark heatmaps, their coordinates and their cross-entropies (the paper, section 2).

Convention: coordinates in [0, 1]², order (x, y), half-pixel centres: column j of a D-wide map is x = (j + 0.5)/D.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from brule.maths.precision import full_precision

PAPER_UNIT = 68 * 64 * 64
"""A cross-entropy in nats per landmark weighs c / PAPER_UNIT: the paper's c2 and c7 weigh the mean over the K·D·D
pixels of maps whose mass is 1 over all channels, 1/K in each."""


def centres(size: int, like: Tensor) -> Tensor:
    """Pixel centres (j + 0.5)/size, shape (size,), on the device and of the dtype of `like`."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size


@full_precision
def coordinates(maps: Tensor) -> Tensor:
    """X_L = E_L[mesh], the soft-argmax: maps (B, K, D, D) of mass 1 per channel → (B, K, 2) in [0, 1]²."""
    x = (maps.sum(-2) * centres(maps.shape[-1], maps)).sum(-1)
    y = (maps.sum(-1) * centres(maps.shape[-2], maps)).sum(-1)
    return torch.stack((x, y), dim=-1)


@full_precision
def sparse(points: Tensor, size: int, sigma: float = 1.0) -> Tensor:
    """L_sp ∝ exp(−‖mesh − X_L‖²/2σ²): points (B, K, 2) → (B, K, D, D) of mass 1 per channel, D = size.

    `sigma` is in heatmap pixels. Differentiable. A point outside the frame gives the nearest border pixels, never 0/0:
    the Gaussian is separable, so each axis is a softmax of its own.
    """
    columns, rows = gaussians(points, size, sigma)
    return rows[..., :, None] * columns[..., None, :]


def gaussians(points: Tensor, size: int, sigma: float = 1.0) -> tuple[Tensor, Tensor]:
    """The two factors of `sparse`, along x and along y: points (B, K, 2) → (B, K, D) and (B, K, D), each of mass 1."""
    columns, rows = (_cut(axis.softmax(-1)) for axis in _exponents(points, size, sigma))
    return columns, rows


def _cut(tails: Tensor) -> Tensor:
    # far from the peak products would be denormal numbers, on which a CPU is slow
    return tails.masked_fill(tails < torch.finfo(tails.dtype).eps ** 2, 0)


@full_precision
def condition(points: Tensor, size: int, sigma: float) -> Tensor:
    """The same Gaussian with peak 1, as G and D see it: points (B, K, 2) → (B, K, D, D); `sigma` in heatmap pixels."""
    columns, rows = (_cut(axis.exp()) for axis in _exponents(points, size, sigma))
    return rows[..., :, None] * columns[..., None, :]


def _exponents(points: Tensor, size: int, sigma: float) -> tuple[Tensor, Tensor]:
    offsets = (points[..., None] - centres(size, points)) * (size / sigma)
    columns, rows = (-0.5 * offsets.square()).unbind(-2)
    return columns, rows


@full_precision
def log_probabilities(logits: Tensor) -> Tensor:
    """log L: log-softmax over the D·D pixels of each channel, (B, K, D, D) → the same shape, float32.

    Everything downstream starts from here: softmax followed by log has NaN gradients once a pixel underflows.
    """
    return logits.flatten(2).log_softmax(-1).view_as(logits)


@full_precision
def cross_entropy(log_prediction: Tensor, target: Tensor) -> Tensor:
    """H(a ‖ b) = −Σ b log a in nats per landmark: mean over batch and channels, a scalar.

    log_prediction = log a (B, K, D, D), from `log_probabilities`; target = b (B, K, D, D), mass 1 a channel, detached.
    """
    return -(target.detach() * log_prediction).sum((-2, -1)).mean()


@full_precision
def entropy(log_probabilities: Tensor) -> Tensor:
    """Self-entropy −Σ a log a of each channel, (B, K, D, D) log-probabilities → (B, K) nats.

    σ = 1 on a 64 × 64 map has 2.838 nats, the uniform map 8.318.
    """
    return -(log_probabilities.exp() * log_probabilities).sum((-2, -1))


PART = 1 << 18
"""Numbers that a CPU works on at once, 1 MiB of float32, so that they stay in its cache. A GPU takes all at once."""


@torch.no_grad()
def soft_argmax(logits: Tensor) -> Tensor:
    """X_L of logits (B, K, D, D) → (B, K, 2), at least float32, without a gradient.

    The same numbers as `coordinates` of the exponential of `log_probabilities`, where L itself is not asked for.
    """
    return torch.cat([_expected(_shifted(part).exp_())[1] for (part,) in _parts(logits)])


@full_precision
def _shifted(logits: Tensor) -> Tensor:
    """Logits less the largest of their channel, so that no exponential is infinite."""
    return logits - logits.amax((-2, -1), keepdim=True)


def _expected(weights: Tensor) -> tuple[Tensor, Tensor]:
    """(mass (B, K), X (B, K, 2)): the coordinates of maps (B, K, D, D) of any mass."""
    across, down, axis = weights.sum(-2), weights.sum(-1), centres(weights.shape[-1], weights)
    mass = across.sum(-1)
    return mass, torch.stack(((across * axis).sum(-1), (down * axis).sum(-1)), dim=-1) / mass[..., None]


def _parts(maps: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Maps (B, K, D, D) and what else belongs to a batch, a few rows at a time; see PART."""
    rows = PART // maps.shape[1:].numel() if maps.device.type == "cpu" else len(maps)
    return zip(*(torch.split(each, max(1, rows)) for each in (maps, *others)), strict=True)


def decode(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """H(L ‖ gL) of each channel in nats (B, K), and X_L (B, K, 2), for gL = `heatmaps.sparse(target, D)`.

    logits (B, K, D, D), target (B, K, 2), which takes no gradient. The same numbers as `heatmaps.cross_entropy` and
    `heatmaps.coordinates` of `heatmaps.log_probabilities`; differentiable once. Sections 2 and 4.
    """
    entropy, points = _Decode.apply(logits, target)  # type: ignore[no-untyped-call]
    return entropy, points


class _Decode(torch.autograd.Function):
    """One softmax with a gradient by hand: R_g is on every iteration's path, and memory is what it costs.

    With logits l, p = softmax(l) over the D·D pixels of a channel, and the target's separable Gaussian q_ij = r_i·c_j:

        H = log Σ exp(l) − Σ r_i l_ij c_j,   X = Σ p_ij (x_j, y_i)
        ∂l_ij = p_ij·(h + u·(x_j − X_x) + v·(y_i − X_y)) − h·q_ij   for incoming gradients h of H and (u, v) of X

    so that neither log p nor q is ever stored.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        columns, rows = full_precision(gaussians)(target, logits.shape[-1])  # (B, K, D) each
        weights, found = [], []
        for part, c, r in _parts(logits, columns, rows):
            shifted = _shifted(part)
            inner = ((shifted * c[..., None, :]).sum(-1) * r).sum(-1)
            weights.append(shifted.exp_())
            found.append((*_expected(weights[-1]), inner))
        mass, points, inner = (torch.cat(each) for each in zip(*found, strict=True))
        ctx.type = logits.dtype
        ctx.save_for_backward(mass, points, columns, rows, *weights)
        return mass.log() - inner, points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor, uv: Tensor) -> tuple[Tensor, None]:
        mass, points, columns, rows, *weights = ctx.saved_tensors
        pull = uv[..., None] * (centres(columns.shape[-1], columns) - points[..., None])  # (B, K, 2, D)
        across, down = ((pull + 0.5 * h[..., None, None]) / mass[..., None, None]).unbind(-2)
        factors = (each.split(len(weights[0])) for each in (across, down, columns, h[..., None] * rows))
        return torch.cat([_slope(*each).to(ctx.type) for each in zip(weights, *factors, strict=True)]), None


def _slope(weights: Tensor, across: Tensor, down: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """weights·(down_i + across_j) − rows_i·columns_j, (B, K, D, D)."""
    pulled = (across[..., None, :] + down[..., None]).mul_(weights)
    return pulled.addcmul_(rows[..., None], columns[..., None, :], value=-1)
