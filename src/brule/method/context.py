"""What both algorithms share: the networks and their optimisers, the batch, the settings, and the descent.

G and D see a rendered sparse map of the landmarks (peak 1, differentiable through X), never the encoder's raw heatmap,
through which it could hide appearance; `model.raw_condition` brings the raw map back for the ablation.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from brule import config
from brule.maths import draws, heatmaps
from brule.maths.family import Family
from brule.maths.images import shrunk
from brule.maths.warps import Warp
from brule.method import graphs, ranks
from brule.networks.discriminator import Discriminator
from brule.networks.generator import Generator
from brule.networks.hourglass import LandmarkEncoder
from brule.networks.layers import MinibatchDeviation
from brule.networks.style import NoiseToStyle, StyleEncoder

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")
Parts = dict[str, Tensor]
"""Losses by their name in the history, e.g. `encoder/R_b`."""


class Average(AveragedModel):
    """torch's averaged model, with a decay that starts low so that the random start is forgotten at once.

    The networks have no buffers, so the parameters are all there is to average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module)
        self.decay = decay
        self.requires_grad_(False)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """One more model. torch's own copies the count to the device first, and there the CPU waits for the GPU."""
        n = int(self.n_averaged)  # on the CPU, wherever the parameters are
        decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(list(self.module.parameters()), list(model.parameters()), n)
        self.n_averaged += 1


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
    E_ema: Average
    G_ema: Average

    @classmethod
    def build(cls, parameters: config.Config, landmarks: int, device: torch.device) -> "Networks":
        """The networks on `device`, initialised from torch's global generator (seed it first)."""
        model, image_size = parameters.model, parameters.prepare.image_size
        e, gan, s = model.encoder, model.gan, model.style
        size = (landmarks, image_size, model.map_size)
        E = _placed(LandmarkEncoder(*size, width=e.width, stacks=e.stacks, depth=e.depth), device)
        G = _placed(Generator(*size, s.size, gan.width, gan.max_width), device)
        return cls(
            E=E,
            G=G,
            D=_together(_placed(Discriminator(*size, gan.width, gan.max_width), device)),
            S=_placed(StyleEncoder(image_size, s.size, s.width), device),
            So=_placed(NoiseToStyle(s.latent, s.size, s.depth), device),
            E_ema=Average(E, parameters.optimiser.ema),
            G_ema=Average(G, parameters.optimiser.generator_ema),
        )


def _placed(module: M, device: torch.device) -> M:
    """On the device, convolutions with channels last in memory, the order in which bfloat16 is fast."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _together(D: Discriminator) -> Discriminator:
    """D, whose minibatch deviation looks at the rows of all processes."""
    for module in D.modules():
        if isinstance(module, MinibatchDeviation) and ranks.count() > 1:
            module.register_forward_pre_hook(lambda _, x: (ranks.whole(x[0]),))
            module.register_forward_hook(lambda _, x, y: ranks.own(y))
    return D


@dataclass(frozen=True)
class Optimisers:
    """One optimiser for each network; that of G also owns So."""

    E: Optimizer
    G: Optimizer
    D: Optimizer
    S: Optimizer

    @classmethod
    def build(cls, n: Networks, parameters: config.Config) -> "Optimisers":
        """AdamW for the encoder, Adam for the GAN; D's is adjusted for the lazy penalty (StyleGAN2).

        Fused: one pass over memory in place of several. It takes for granted that gradients lie in memory as their
        parameters do, which autograd sees to.
        """
        rates, lazy = parameters.optimiser, parameters.train.r1_every / (parameters.train.r1_every + 1)
        styled = (rates.momentum, 0.99)
        # capturable: fit to be recorded as a CUDA graph
        how: Any = {"fused": True, "capturable": graphs.used(parameters.machine, next(n.E.parameters()).device)}
        return cls(
            E=AdamW(n.E.parameters(), lr=1e-3, weight_decay=rates.weight_decay, **how),
            G=Adam([*n.G.parameters(), *n.So.parameters()], lr=rates.generator_rate, betas=styled, **how),
            D=Adam(n.D.parameters(), lr=rates.discriminator_rate * lazy, betas=(0.0, 0.99**lazy), **how),
            S=Adam(n.S.parameters(), lr=rates.style_rate, betas=styled, **how),
        )

    def at_rate(self, rate: float) -> None:
        """From now on E learns at this rate, which on a GPU stays where a graph finds it."""
        for group in self.E.param_groups:
            if not group.get("capturable"):
                group["lr"] = rate
            elif isinstance(group["lr"], Tensor) and group["lr"].is_cuda:
                group["lr"].fill_(rate)
            else:
                group["lr"] = torch.full((), rate, device=group["params"][0].device)


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


@dataclass(frozen=True)
class Batch:
    """Images of the encoder's or the GAN's batch, and their landmarks where the run may see them."""

    I: Tensor  # (B, 3, S, S) in [-1, 1]
    X: Tensor | None = None  # (B', K, 2), landmarks of the first B' images
    primary: Tensor | None = None  # (B,) bool: images cropped as X_b and the shapes are; None: all

    @property
    def labelled(self) -> int:
        """B', how many images have landmarks; they come first."""
        return 0 if self.X is None else len(self.X)

    def resized(self, size: int | None) -> "Batch":
        """With images of size × size, each pixel the mean of those that it replaces; None: as they are."""
        if size is None:
            return self
        return replace(self, I=shrunk(self.I, size))

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
    augment: config.Augment
    clip: float
    """Largest norm of E's gradient."""
    precision: str
    """Of the convolutions: float32 or bfloat16."""
    families: Mapping[str, Family]
    X_b: Tensor  # (K, 2)
    shapes: Tensor  # (M, K, 2), the unpaired shapes of the prior
    permutation: Tensor | None  # (K,), for a teacher that also looks at the mirror image; None: it does not

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.X_b.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


class Landmarks(NamedTuple):
    """What an encoder finds on images, in the two forms that the losses want."""

    log_L: Tensor  # (B, K, D, D), log-probabilities
    X_L: Tensor  # (B, K, 2)

    def after(self, count: int) -> "Landmarks":
        """The same of all images but the first `count`."""
        return Landmarks(self.log_L[count:], self.X_L[count:])


def landmarks(E: nn.Module, I: Tensor, s: Settings) -> Landmarks:
    """L(I) and X_L of images (B, 3, S, S), from the last stack of E, with E's gradient."""
    with s.autocast():
        logits = E(I)[-1]
    log_L = heatmaps.log_probabilities(logits)
    return Landmarks(log_L, heatmaps.coordinates(log_L.exp()))


def condition(L: Landmarks, s: Settings, g: Warp | None = None, gX: Tensor | None = None) -> Tensor:
    """What G and D see of L, deformed by g where it is given with gX = g X_L (B, K, 2).

    That is the sparse map at the landmarks, peak 1; or gL, scaled as if it were one.
    """
    if s.model.raw_condition:
        gL = L.log_L.exp() if g is None else g.maps(L.log_L.exp())
        return gL * (2 * torch.pi * s.model.condition_sigma**2)
    return heatmaps.condition(L.X_L if gX is None else gX, s.model.map_size, s.model.condition_sigma)


def random_style(n: Networks, batch: int, s: Settings, generator: torch.Generator) -> Tensor:
    """S_o(z) for every layer of G: (B, layers, style); with probability `mixing` two styles meet at a random layer."""
    device, latent = s.X_b.device, s.model.style.latent
    z = draws.randn(2, batch, latent, generator=generator, dim=1)
    crossing = draws.randint(1, n.G.layers, (batch, 1), generator)
    mixed = draws.rand(batch, 1, generator=generator) < s.model.style.mixing
    second = mixed & (torch.arange(n.G.layers, device=device) >= crossing)  # (B, layers)
    with s.autocast():
        first_style, second_style = n.So(z.flatten(0, 1)).float().unflatten(0, (2, batch))
    return torch.where(second[..., None], second_style[:, None], first_style[:, None])


# ------------------------------------------------------------------------------------------------------- the descent


class Term(NamedTuple):
    """A summand of a loss: weight · share · value."""

    weight: float
    value: Callable[[], Tensor]
    """Called only where it weighs something."""
    share: float | Tensor = 1.0
    """In [0, 1]: how much of the term there is yet, or whether there is any in this iteration. A tensor is not 0."""


def once(function: Callable[[], T]) -> Callable[[], T]:
    """`function`, computed when it is first called and remembered: what no term asks for costs nothing."""
    return cache(function)


def descend(
    terms: Mapping[str, Term], optimisers: list[Optimizer], clip: float | None = None
) -> tuple[Parts, Tensor, Tensor]:
    """One step down Σ weight · share · value. Terms that weigh nothing are not computed.

    A step whose gradient is not finite is skipped. Returns (each value by its name, the sum, 1 if the step was skipped
    else 0), detached. `clip`: largest norm of the gradient. Of several processes, gradient and values are the means.
    """
    parts: Parts = {}
    total = optimisers[0].param_groups[0]["params"][0].new_zeros(())
    for name, term in terms.items():
        if term.weight > 0 and (isinstance(term.share, Tensor) or term.share > 0):
            parts[name] = value = term.value()
            total = total + term.share * (term.weight * value)
    values = {name: value.detach() for name, value in parts.items()}
    skipped = _step(total, optimisers, clip, [*values.values(), total.detach()])
    return values, total.detach(), skipped


def _step(loss: Tensor, optimisers: list[Optimizer], clip: float | None, values: list[Tensor]) -> Tensor:
    """0, or 1 where the gradient is not finite: then nothing moves. The values travel with the gradient."""
    if not loss.requires_grad:  # no term weighs anything
        ranks.average(values)
        return loss.new_zeros(())
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for o in optimisers for group in o.param_groups for p in group["params"] if p.grad is not None]
    ranks.average([*(p.grad for p in parameters if p.grad is not None), *values])
    norm = clip_grad_norm_(parameters, clip if clip is not None else float("inf"))
    bad = 1.0 - torch.isfinite(norm).to(loss.dtype)
    for optimiser in optimisers:
        optimiser.found_inf = bad  # type: ignore[attr-defined]  # a fused step reads it where the parameters are
        optimiser.step()
    return bad
