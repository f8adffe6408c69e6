"""Algorithm 1: one iteration of the conditional GAN, in the paper's letters (section 2).

I image, L heatmaps, X their coordinates, g random deformation, I_F fake, I_R restored image, z noise.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from brule.maths import heatmaps
from brule.maths.warps import Warp
from brule.method import losses
from brule.method.context import Batch, Networks, Optimisers, Parts, Settings, frozen, random_style, raw_condition, step


def gan_iteration(
    n: Networks, o: Optimisers, batch: Batch, settings: Settings, turn: int, generator: Generator
) -> Parts:
    """Algorithm 1: one iteration of the conditional GAN; the encoder is frozen.

    `turn` counts these iterations: D plays at every `adversarial_every`-th, and of its turns the penalty is added at
    every `r1_every`-th; images are restored at every `restore_every`-th. Terms of weight 0, and those of fakes where
    D does not play, cost nothing. Returns the losses by name, detached. Section 2.
    """
    s, I = settings, batch.I
    g = Warp.sample(s.families[s.train.gan_warp], len(I), I.shape[-1], generator)
    gI = g.images(I)  # (B, 3, S, S)
    with torch.no_grad():
        gX, gL = _deformed_condition(n, I, g, s)  # (B, K, 2), (B, K, D, D)
    parts: Parts = {}
    total, skipped = I.new_zeros(()), I.new_zeros(())
    fake: Fake | None = None

    played, rest = divmod(turn, s.train.adversarial_every)
    if rest == 0:
        # generate the fake image
        z_style = random_style(n, len(I), s, generator)  # (B, layers, style)
        with s.autocast():
            I_F = n.G(gL, z_style).float()
        fake = Fake(I_F, z_style)

        # max over D: −E log(1 + e^{−D(gI, gL)}) − E log(1 + e^{D(I_F, gL)}), with the penalty λ E‖∇D(gI, gL)‖²
        parts = _discriminator_step(n, o, gI, I_F.detach(), gL, s, penalise=played % s.train.r1_every == 0)
        skipped = parts["gan/skipped"]

    # min over G (and S, where the image is restored)
    restore = turn % s.train.restore_every == 0
    with frozen(n.D):
        if fake:
            with s.autocast():
                parts["gan/generator"] = losses.generator(n.D(fake.I_F, gL).float())
            total = total + parts["gan/generator"]
        if restore:
            total = total + _restoration(n, I, gI, fake, gX, gL, g, s, parts)
        parts["gan/skipped"] = skipped + 1.0 - step(total, [o.G, o.S] if restore else [o.G])
    n.G_ema.update_parameters(n.G)
    return {name: part.detach() for name, part in parts.items()}


class Fake(NamedTuple):
    """What G makes of noise."""

    I_F: Tensor  # (B, 3, S, S)
    style: Tensor  # (B, layers, style)


def _deformed_condition(n: Networks, I: Tensor, g: Warp, s: Settings) -> tuple[Tensor, Tensor]:
    """gX and the condition at it, from the frozen encoder's landmarks of the image that is not warped."""
    with s.autocast():
        logits = n.E_ema(I)[-1]
    log_L = heatmaps.log_probabilities(logits)
    gX = g.points(heatmaps.coordinates(log_L.exp()))
    if s.model.condition == "raw":
        return gX, raw_condition(g.maps(log_L.exp()), s)
    return gX, heatmaps.condition(gX, s.model.map_size, s.model.condition_sigma)


def _discriminator_step(
    n: Networks, o: Optimisers, gI: Tensor, I_F: Tensor, gL: Tensor, s: Settings, penalise: bool
) -> Parts:
    parts: Parts = {}
    with s.autocast():
        D_real, D_fake = n.D(gI, gL).float(), n.D(I_F, gL).float()
        parts["gan/discriminator"] = total = losses.discriminator(D_real, D_fake)
        if s.loss.mismatch > 0:  # a real image with another image's landmarks is a fake as well
            wrong = n.D(gI, gL.roll(1, 0)).float()
            parts["gan/mismatch"] = losses.landmark_discriminator(-wrong, -wrong) / 2
            total = total + s.loss.mismatch * parts["gan/mismatch"]
    if penalise:  # in float32: the second derivative does not survive bfloat16
        image = gI.detach().requires_grad_()
        parts["gan/R1"] = losses.gradient_penalty(n.D(image, gL), image)
        total = total + s.loss.lambda_ * parts["gan/R1"]
    parts["gan/skipped"] = 1.0 - step(total, [o.D])
    return parts


def _restoration(
    n: Networks,
    I: Tensor,
    gI: Tensor,
    fake: Fake | None,
    gX: Tensor,
    gL: Tensor,
    g: Warp,
    s: Settings,
    parts: Parts,
) -> Tensor:
    """c1 ‖I_R − gI‖₁ + c2 H(L_F ‖ gL) + c3 L_style. The style is the un-warped image's: it carries no geometry."""
    c, weights = s.loss, dict[str, float]()
    if c.c1 > 0:
        with s.autocast():
            I_R = n.G(gL, n.S(I)).float()
        parts["gan/L_rec"], weights["gan/L_rec"] = losses.reconstruction(I_R, gI), c.c1
    if fake and c.c2 > 0:
        with s.autocast():
            L_F = n.E_ema(fake.I_F)[-1]
        sparse = heatmaps.sparse(gX, s.model.map_size)
        parts["gan/H_fake"] = heatmaps.cross_entropy(heatmaps.log_probabilities(L_F), sparse)
        weights["gan/H_fake"] = c.c2 / heatmaps.PAPER_UNIT
    if fake and c.c3 > 0:
        with s.autocast():
            S_F, S_gF = n.S(torch.cat([fake.I_F, g.images(fake.I_F)])).float().chunk(2)
        parts["gan/L_style"] = losses.style(S_F, fake.style.mean(1).float(), S_gF)
        weights["gan/L_style"] = c.c3
    if not weights:
        return I.new_zeros(())
    return torch.stack([weight * parts[name] for name, weight in weights.items()]).sum()
