"""What both algorithms share: the batch, the settings, the condition that G and D see, random styles, the descent step.

G and D see a rendered sparse map of the landmarks (peak 1, differentiable through X), never the encoder's raw heatmap,
through which it could hide appearance; `condition: raw` brings the raw map back for the ablation.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.utils import clip_grad_norm_

from brule import config
from brule.maths import heatmaps
from brule.maths.families import Family
from brule.method.bundle import Networks

Parts = dict[str, Tensor]
"""Losses by their name in the history, e.g. `encoder/R_b`."""


@dataclass(frozen=True)
class Batch:
    """Images of the encoder's or the GAN's batch, and their landmarks where the run may see them."""

    I: Tensor  # (B, 3, S, S) in [-1, 1]
    X: Tensor | None = None  # (B', K, 2), landmarks of the first B' images
    primary: Tensor | None = None  # (B,) bool: images cropped as X_b and the shapes are; None: all

    def joined(self, other: "Batch") -> "Batch":
        """This batch, then the images of another, which has no landmarks."""
        primary = None
        if self.primary is not None or other.primary is not None:
            ones = [torch.ones(len(b.I), dtype=torch.bool, device=b.I.device) for b in (self, other)]
            parts = [one if b.primary is None else b.primary for one, b in zip(ones, (self, other), strict=True)]
            primary = torch.cat(parts)
        return Batch(torch.cat((self.I, other.I)), self.X, primary)


@dataclass(frozen=True)
class Settings:
    """What both algorithms need to know beside the networks."""

    model: config.Model
    loss: config.Loss
    train: config.Train
    X_b: Tensor  # (K, 2)
    shapes: Tensor  # (M, K, 2), the unpaired shapes of the prior
    permutation: Tensor | None  # (K,), for a teacher that also looks at the mirror image; None: it does not
    families: dict[str, Family]

    def autocast(self) -> torch.autocast:
        bf16 = self.train.precision == "bfloat16"
        return torch.autocast(self.X_b.device.type, torch.bfloat16, enabled=bf16)


def step(loss: Tensor, optimisers: list[torch.optim.Optimizer], clip: float | None = None) -> Tensor:
    """One descent step; one whose gradient is not finite is skipped. Returns 0 if that happened, else 1."""
    if not loss.requires_grad:  # every term of this stage has weight 0
        return loss.new_ones(())
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for o in optimisers for group in o.param_groups for p in group["params"] if p.grad is not None]
    norm = clip_grad_norm_(parameters, clip if clip is not None else float("inf"))
    if torch.isfinite(norm):
        for optimiser in optimisers:
            optimiser.step()
        return loss.new_ones(())
    return loss.new_zeros(())


def condition(log_L: Tensor, X_L: Tensor, s: Settings) -> Tensor:
    if s.model.condition == "raw":
        return raw_condition(log_L.exp(), s)
    return heatmaps.condition(X_L, s.model.map_size, s.model.condition_sigma)


def raw_condition(L: Tensor, s: Settings) -> Tensor:
    """L scaled so that a Gaussian of the sparse condition's width would have peak 1."""
    return L * (2 * torch.pi * s.model.condition_sigma**2)


def random_style(n: Networks, batch: int, s: Settings, generator: Generator) -> Tensor:
    """S_o(z) for every layer of G: (B, layers, style); with probability `mixing` two styles meet at a random layer."""
    device, latent = s.X_b.device, s.model.style.latent
    z = torch.randn(2, batch, latent, generator=generator, device=device)
    crossing = torch.randint(1, n.G.layers, (batch, 1), generator=generator, device=device)
    mixed = torch.rand(batch, 1, generator=generator, device=device) < s.model.style.mixing
    second = mixed & (torch.arange(n.G.layers, device=device) >= crossing)  # (B, layers)
    with s.autocast():
        first_style, second_style = n.So(z.flatten(0, 1)).float().unflatten(0, (2, batch))
    return torch.where(second[..., None], second_style[:, None], first_style[:, None])
