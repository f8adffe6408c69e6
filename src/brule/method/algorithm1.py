"""Algorithm 1: one iteration of the conditional GAN, in the paper's letters (section 2).

I image, L heatmaps, X their coordinates, g random deformation, I_F fake, I_R restored image, z noise.
"""

import torch
from torch import Generator, Tensor

from brule.maths import heatmaps
from brule.maths.warps import Warp
from brule.method import losses
from brule.method.bundle import Networks, Optimisers, frozen
from brule.method.context import Batch, Parts, Settings, random_style, raw_condition, step


def gan_iteration(
    n: Networks, o: Optimisers, batch: Batch, settings: Settings, turn: int, generator: Generator
) -> Parts:
    """Algorithm 1: one iteration of the conditional GAN; the encoder is frozen.

    `turn` counts these iterations: the penalty is added at every `r1_every`-th, the restoration at every
    `restore_every`-th. Returns the losses by name, detached. Section 2.
    """
    s, c, I = settings, settings.loss, batch.I
    g = Warp.sample(s.families[s.train.gan_warp], len(I), I.shape[-1], generator)
    gI = g.images(I)  # (B, 3, S, S)
    with torch.no_grad():
        gX, gL = _deformed_condition(n, I, g, s)  # (B, K, 2), (B, K, D, D)

    # generate the fake image
    z_style = random_style(n, len(I), s, generator)  # (B, layers, style)
    with s.autocast():
        I_F = n.G(gL, z_style).float()

    # max over D: −E log(1 + e^{−D(gI, gL)}) − E log(1 + e^{D(I_F, gL)}), with the penalty λ E‖∇D(gI, gL)‖²
    parts = _discriminator_step(n, o, gI, I_F.detach(), gL, s, penalise=turn % s.train.r1_every == 0)

    # min over G (and S, where the image is restored)
    with frozen(n.D):
        with s.autocast():
            parts["gan/generator"] = losses.generator(n.D(I_F, gL).float())
        total = parts["gan/generator"]
        restore = turn % s.train.restore_every == 0
        if restore:
            parts |= _restoration(n, I, gI, I_F, gX, gL, z_style, g, s)
            weights = {"gan/L_rec": c.c1, "gan/H_fake": c.c2 / heatmaps.PAPER_UNIT, "gan/L_style": c.c3}
            total = total + sum((weight * parts[name] for name, weight in weights.items()), total.new_zeros(()))
        skipped = 1.0 - step(total, [o.G, o.S] if restore else [o.G])
        parts["gan/skipped"] = parts["gan/skipped"] + skipped
    n.G_ema.update_parameters(n.G)
    return {name: part.detach() for name, part in parts.items()}


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
    I_F: Tensor,
    gX: Tensor,
    gL: Tensor,
    z_style: Tensor,
    g: Warp,
    s: Settings,
) -> Parts:
    """c1 ‖I_R − gI‖₁, c2 H(L_F ‖ gL), c3 L_style. The style is the un-warped image's: it carries no geometry."""
    with s.autocast():
        I_R = n.G(gL, n.S(I)).float()
        L_F = n.E_ema(I_F)[-1]
        S_F, S_gF = n.S(torch.cat([I_F, g.images(I_F)])).float().chunk(2)
    sparse = heatmaps.sparse(gX, s.model.map_size)
    return {
        "gan/L_rec": losses.reconstruction(I_R, gI),
        "gan/H_fake": heatmaps.cross_entropy(heatmaps.log_probabilities(L_F), sparse),
        "gan/L_style": losses.style(S_F, z_style.mean(1).float(), S_gF),
    }
