"""L → H(L ‖ gL) and X_L in one softmax with a gradient by hand: R_g is on every iteration's path, and memory its cost.

With logits l, p = softmax(l) over the D·D pixels of a channel, and the target's separable Gaussian q_ij = r_i·c_j:

    H = log Σ exp(l) − Σ r_i l_ij c_j,   X = Σ p_ij (x_j, y_i)
    ∂l_ij = p_ij·(h + u·(x_j − X_x) + v·(y_i − X_y)) − h·q_ij   for incoming gradients h of H and (u, v) of X

so that neither log p nor q is ever stored.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from brule.maths.heatmaps import centres, gaussians
from brule.maths.precision import full_precision


@full_precision
def decode(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """H(L ‖ gL) of each channel in nats (B, K), and X_L (B, K, 2), for gL = `heatmaps.sparse(target, D)`.

    logits (B, K, D, D), target (B, K, 2), which takes no gradient. The same numbers as `heatmaps.cross_entropy` and
    `heatmaps.coordinates` of `heatmaps.log_probabilities`; differentiable once. Sections 2 and 4.
    """
    entropy, points = _Decode.apply(logits, target)  # type: ignore[no-untyped-call]
    return entropy, points


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        columns, rows = gaussians(target, logits.shape[-1])  # (B, K, D) each
        weights = logits - logits.amax((-2, -1), keepdim=True)
        inner = ((weights * columns[..., None, :]).sum(-1) * rows).sum(-1)
        weights.exp_()
        across, down = weights.sum(-2), weights.sum(-1)  # (B, K, D)
        mass = across.sum(-1)
        axis = centres(logits.shape[-1], logits)
        points = torch.stack(((across * axis).sum(-1), (down * axis).sum(-1)), dim=-1) / mass[..., None]
        ctx.save_for_backward(weights, mass, points, columns, rows)
        return mass.log() - inner, points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor, uv: Tensor) -> tuple[Tensor, None]:
        weights, mass, points, columns, rows = ctx.saved_tensors
        pull = uv[..., None] * (centres(weights.shape[-1], weights) - points[..., None])  # (B, K, 2, D)
        across, down = ((pull + 0.5 * h[..., None, None]) / mass[..., None, None]).unbind(-2)
        gradient = (across[..., None, :] + down[..., None]).mul_(weights)
        return gradient.addcmul_((h[..., None] * rows)[..., None], columns[..., None, :], value=-1), None
