"""The five networks of the paper, their averages and their optimisers, as one bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from brule import config
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
