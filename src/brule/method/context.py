"""The five networks of the paper, their averages and their optimisers, as one bundle.

What both algorithms share: the batch, the settings, the condition that G and D see, random styles, the descent step.

G and D see a rendered sparse map of the landmarks (peak 1, differentiable through X), never the encoder's raw heatmap,
through which it could hide appearance; `condition: raw` brings the raw map back for the ablation.


What the encoder finds on an image, in the two forms that the losses want."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from brule import config
from brule.maths import heatmaps
from brule.maths.warps import Family
from brule.networks.discriminator import Discriminator
from brule.networks.generator import Generator
from brule.networks.hourglass import LandmarkEncoder
from brule.networks.style import NoiseToStyle, StyleEncoder

M = TypeVar("M", bound=nn.Module)
Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class Networks:
    """E: image → heatmaps. G: (landmarks, style) → image. D: (image, landmarks) → logit. S, So: image, z → style.

    E_ema and G_ema are exponential moving averages: E_ema is the teacher and the detector that ships.
    """

    E: LandmarkEncoder
    G: Generator
    D: Discriminator
    S: StyleEncoder
    So: NoiseToStyle
    E_ema: AveragedModel
    G_ema: AveragedModel


@dataclass(frozen=True)
class Optimisers:
    """One optimiser for each network; that of G also owns So."""

    E: Optimizer
    G: Optimizer
    D: Optimizer
    S: Optimizer


def build(model: config.Model, train: config.Train, landmarks: int, image_size: int, device: torch.device) -> Networks:
    """The networks on `device`, initialised from torch's global generator (seed it first)."""
    e, g, d, s = model.encoder, model.generator, model.discriminator, model.style
    size = (landmarks, image_size, model.map_size)
    E = _placed(LandmarkEncoder(*size, width=e.width, stacks=e.stacks, depth=e.depth), device)
    G = _placed(Generator(*size, s.size, g.width, g.max_width), device)
    return Networks(
        E=E,
        G=G,
        D=_placed(Discriminator(*size, d.width, d.max_width), device),
        S=_placed(StyleEncoder(image_size, s.size, s.width), device),
        So=_placed(NoiseToStyle(s.latent, s.size, s.depth), device),
        E_ema=average(E, train.ema),
        G_ema=average(G, train.generator_ema),
    )


def _placed(module: M, device: torch.device) -> M:
    """On the device, convolutions with channels last in memory, the order in which bfloat16 is quick."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def average(module: nn.Module, decay: float) -> AveragedModel:
    """torch's averaged model, with a decay that starts low so that the random start is forgotten at once."""

    def update(averages: Tensors, currents: Tensors, count: Tensor | int) -> None:
        n = float(count)
        torch._foreach_lerp_(averages, currents, 1 - min(decay, (1 + n) / (10 + n)))

    averaged = AveragedModel(module, multi_avg_fn=update)
    averaged.requires_grad_(False)
    return averaged


def optimisers(networks: Networks, train: config.Train) -> Optimisers:
    """AdamW for the encoder, Adam for the GAN; D's is adjusted for the lazy penalty (StyleGAN2).

    Fused: one pass over memory in place of several. It takes for granted that gradients lie in memory as their
    parameters do, which autograd sees to.
    """
    lazy = train.r1_every / (train.r1_every + 1)
    n, styled = networks, (train.momentum, 0.99)
    return Optimisers(
        E=AdamW(n.E.parameters(), lr=1e-3, weight_decay=train.weight_decay, fused=True),
        G=Adam([*n.G.parameters(), *n.So.parameters()], lr=train.generator_rate, betas=styled, fused=True),
        D=Adam(n.D.parameters(), lr=train.discriminator_rate * lazy, betas=(0.0, 0.99**lazy), fused=True),
        S=Adam(n.S.parameters(), lr=train.style_rate, betas=styled, fused=True),
    )


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients pass through these modules but are not computed for their parameters."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


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


def random_style(n: Networks, batch: int, s: Settings, generator: torch.Generator) -> Tensor:
    """S_o(z) for every layer of G: (B, layers, style); with probability `mixing` two styles meet at a random layer."""
    device, latent = s.X_b.device, s.model.style.latent
    z = torch.randn(2, batch, latent, generator=generator, device=device)
    crossing = torch.randint(1, n.G.layers, (batch, 1), generator=generator, device=device)
    mixed = torch.rand(batch, 1, generator=generator, device=device) < s.model.style.mixing
    second = mixed & (torch.arange(n.G.layers, device=device) >= crossing)  # (B, layers)
    with s.autocast():
        first_style, second_style = n.So(z.flatten(0, 1)).float().unflatten(0, (2, batch))
    return torch.where(second[..., None], second_style[:, None], first_style[:, None])


class Clean(NamedTuple):
    """What the encoder finds on the image as it is."""

    log_L: Tensor  # (B, K, D, D)
    X_L: Tensor  # (B, K, 2)

    def after(self, count: int) -> "Clean":
        """The same of all images but the first `count`."""
        return Clean(self.log_L[count:], self.X_L[count:])


def look(n: Networks, I: Tensor, s: Settings) -> Clean:
    """E's answer, with its gradient."""
    with s.autocast():
        logits = n.E(I)[-1]
    log_L = heatmaps.log_probabilities(logits)
    return Clean(log_L, heatmaps.coordinates(log_L.exp()))
