"""Section 4: every loss as a pure function of tensors, named by its symbol. Coefficients are applied by the caller.

Convention: images (B, 3, S, S) in [-1, 1]; points (B, K, 2) in the unit square; logits of D (B,). Cross-entropies are
in nats per landmark; `PAPER_UNIT` turns the paper's c2 and c7 into a weight per nat.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from brule.maths import heatmaps, transport
from brule.maths.heatmaps import decode


@dataclass(frozen=True)
class BarycenterTerms:
    """R_b's coefficients and choices (section 4; see `barycenter_regulariser`)."""

    c11: float = 1.0
    c12: float = 1.0
    c13: float = 1.0
    coupling: Literal["index", "ot"] = "index"
    alignment: Literal["affine", "similarity"] = "affine"
    detach_affine: bool = False
    ridge: float = 1e-3
    """Keeps A of a collapsed set near the identity; see `transport.affine`."""
    tolerances: tuple[float, float, float] = (0.0, 0.0, 0.0)


def barycenter_regulariser(X_L: Tensor, X_b: Tensor, terms: BarycenterTerms) -> Tensor:
    """R_b(X_L) = c11 W₂²(X_L, T X_L) + c12 W₂²(T X_L, A T X_L) + c13 W₂²(A T X_L, X_b), averaged over the batch.

    T moves the mean of X_L onto that of X_b; A is the least-squares affine map under the transport plan of the centred
    clouds. Each term pays only above its tolerance: max(W₂² − tolerance, 0). With coupling `index`, landmark k is
    matched to k of X_b and W₂² becomes the mean squared distance of the pairs; with `ot` the sets may differ in size.

    X_L: (B, N, 2); X_b: (M, 2), N = M for `index`. Returns a scalar, unit-square lengths squared. Section 4.
    """
    if terms.coupling == "ot" and not torch.isfinite(X_L).all():  # no plan exists, and such a step is skipped
        return X_L.sum() * torch.nan
    target = X_b.to(X_L).expand(len(X_L), -1, -1)  # (B, M, 2)
    translation = transport.translation(X_L, target)  # (B, 2)
    centred = X_L - X_L.mean(1, keepdim=True)
    target = target - target.mean(1, keepdim=True)
    plan = transport.plan(centred, target) if terms.coupling == "ot" else None
    A = transport.affine(centred, target, plan, terms.ridge, terms.alignment)  # (B, 2, 2), row form
    aligned = centred @ (A.detach() if terms.detach_affine else A)
    distance = transport.wasserstein2 if terms.coupling == "ot" else _paired
    lengths = (translation.square().sum(-1), distance(centred, aligned), distance(aligned, target))
    weights = (terms.c11, terms.c12, terms.c13)
    hinged = [c * relu(w - free) for c, w, free in zip(weights, lengths, terms.tolerances, strict=True)]
    return torch.stack(hinged).sum(0).mean()


def _paired(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum(-1).mean(-1)


def geometric_regulariser(logits: list[Tensor], gX: Tensor, entropy: float, coordinates: float) -> Tensor:
    """R_g(L(gI)) = entropy · H(L(gI) ‖ gL) + coordinates · ‖X_L(gI) − gX‖₁, gL the sparse map rendered at gX.

    logits: one (B, K, D, D) for each hourglass stack, averaged; gX: (B, K, 2), no gradient passes into it. `entropy` is
    in paper units, the L1 a mean over coordinates. With true landmarks for gX this is the supervised loss. Section 4.
    """
    gX = gX.detach()
    total = gX.new_zeros(())
    for stack in logits:
        H, X_L = decode(stack, gX)
        total = total + entropy / heatmaps.PAPER_UNIT * H.mean() + coordinates * (X_L - gX).abs().mean()
    return total / len(logits)


def concentration(log_L: Tensor, X_L: Tensor) -> Tensor:
    """H(L ‖ L_sp): the cross-entropy between L and the Gaussians rendered at its own coordinates. Algorithm 2."""
    return heatmaps.cross_entropy(log_L, heatmaps.sparse(X_L, log_L.shape[-1]))


def landmark_discriminator(D_real: Tensor, D_fake: Tensor) -> Tensor:
    """L_D(L) = E log(1 + e^{−D(I, L)}) + E log(1 + e^{−D(I_F, L)}). Section 4."""
    return softplus(-D_real).mean() + softplus(-D_fake).mean()


def decorrelation(X_1: Tensor, X_2: Tensor) -> Tensor:
    """L_decor = ‖L(G[L, S₁]) − L(G[L, S₂])‖₁, as the mean distance of coordinates. Section 4."""
    return (X_1 - X_2).abs().mean()


def reconstruction(I_R: Tensor, I: Tensor) -> Tensor:
    """L_rec(L) = ‖G[L, S(I)] − I‖₁, the mean over pixels. Section 4."""
    return (I_R - I).abs().mean()


def style(S_F: Tensor, S_o: Tensor, S_gF: Tensor) -> Tensor:
    """L_style(S) = ‖S(I_F) − S_o(z)‖₁ + ‖S(I_F) − S(g I_F)‖₁, means over components (B, style). Section 4."""
    return (S_F - S_o).abs().mean() + (S_F - S_gF).abs().mean()


def energy(one: Tensor, two: Tensor) -> Tensor:
    """(2 E‖a − b‖ − E‖a − a′‖ − E‖b − b′‖) / F for rows a of (N, F) and b of (M, F): the energy distance per unit.

    Its mean over samples is that of their distributions, and 0 only where these agree. Szekely and Rizzo 2013.
    """
    across = torch.cdist(one, two).mean()
    within = [torch.pdist(rows).sum() / max(1, len(rows) * (len(rows) - 1) // 2) for rows in (one, two)]
    return (2 * across - within[0] - within[1]) / one.shape[1]


def discriminator(D_real: Tensor, D_fake: Tensor) -> Tensor:
    """E log(1 + e^{−D(gI, gL)}) + E log(1 + e^{D(I_F, gL)}), to be minimised over D. Algorithm 1."""
    return softplus(-D_real).mean() + softplus(D_fake).mean()


def generator(D_fake: Tensor) -> Tensor:
    """E log(1 + e^{−D(I_F, gL)}), to be minimised over G. Algorithm 1."""
    return softplus(-D_fake).mean()


def gradient_penalty(D_real: Tensor, gI: Tensor) -> Tensor:
    """R1: E ‖∇_{gI} D(gI, gL)‖², the gradient with respect to the image alone. `gI` must require it. Algorithm 1."""
    (gradient,) = torch.autograd.grad(D_real.sum(), gI, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()
