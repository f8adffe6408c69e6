"""Algorithm 1: one iteration of the conditional GAN, in the paper's letters (section 2).

I image, L heatmaps, X their coordinates, g random deformation, I_F fake, I_R restored image, z noise.
"""

import torch
from torch import Generator, Tensor

from brule.maths import heatmaps
from brule.maths.warps import Warp
from brule.method import losses, ranks
from brule.method.context import (
    Batch,
    Networks,
    Optimisers,
    Parts,
    Settings,
    Term,
    condition,
    descend,
    frozen,
    landmarks,
    once,
    random_style,
)
from brule.method.graphs import Play, plainly
from brule.method.schedule import Turn, turn_of

STYLES = 64
"""Random styles that a batch of images is held against."""


def gan_iteration(
    n: Networks, o: Optimisers, batch: Batch, s: Settings, turn: int, generator: Generator, play: Play = plainly
) -> Parts:
    """Algorithm 1: one iteration of the conditional GAN; the encoder is frozen.

    max over D of −E log(1 + e^{−D(gI, gL)}) − E log(1 + e^{D(I_F, gL)}) − λ E‖∇D(gI, gL)‖²
    min over G, S of E log(1 + e^{−D(I_F, gL)}) + c1 ‖I_R − gI‖₁ + c2 H(L_F ‖ gL) + c3 L_style(S_F)

    and, where it is switched on, the energy distance of the styles S(I) from S_o(z).
    `turn` counts these iterations: D plays at every `adversarial_every`-th, and of its turns the penalty is added at
    every `r1_every`-th; images are restored at every `restore_every`-th. `play` calls all of it but the average of G.
    Returns the losses by name, detached. Section 2.
    """
    now = turn_of(turn, s.train)
    parts = play(("gan", now), lambda I: _step(n, o, I, s, now, generator), [batch.I], generator)
    n.G_ema.update_parameters(n.G)
    return parts


def _step(n: Networks, o: Optimisers, I: Tensor, s: Settings, now: Turn, generator: Generator) -> Parts:
    """The two descents of Algorithm 1, of D and then of G and S."""
    c, (plays, penalise, restore) = s.loss, now

    g = Warp.sample(s.families[s.train.gan_warp], len(I), I.shape[-1], generator)
    gI = g.images(I)  # (B, 3, S, S)
    with torch.no_grad():
        L = landmarks(n.E_ema, I, s)  # of the image that is not warped
        gX = g.points(L.X_L)  # (B, K, 2)
        gL = condition(L, s, g, gX)  # (B, K, D, D)
    style = random_style(n, len(I), s, generator) if plays else None  # S_o(z): (B, layers, style)
    I_F = once(lambda: _image(n, gL, style, s))  # I_F = G(gL, S_o(z)), where D plays
    S_I = once(lambda: _style(n, I, s))  # the style is the un-warped image's: it has no geometry
    I_R = once(lambda: _image(n, gL, S_I(), s))
    L_F = once(lambda: landmarks(n.E_ema, I_F(), s).log_L)

    terms = {
        "gan/discriminator": Term(1, lambda: _game(n, gI, I_F().detach(), gL, s), plays),
        "gan/mismatch": Term(c.mismatch or 0, lambda: _mismatch(n, gI, gL, s), plays),
        "gan/R1": Term(c.lambda_, lambda: _penalty(n, gI, gL), penalise),
    }
    of_D, _, skipped_D = descend(terms, [o.D])

    terms = {
        "gan/generator": Term(1, lambda: losses.generator(_logits(n, I_F(), gL, s)), plays),
        "gan/L_rec": Term(c.c1, lambda: losses.reconstruction(I_R(), gI), restore),
        "gan/H_fake": Term(
            c.c2 / heatmaps.PAPER_UNIT,
            lambda: heatmaps.cross_entropy(L_F(), heatmaps.sparse(gX, s.model.map_size)),
            restore and plays,
        ),
        "gan/L_style": Term(c.c3, lambda: _L_style(n, I_F(), style, g, s), restore and plays),
        "gan/styles": Term(c.styles or 0, lambda: _styles(n, S_I(), s, generator), restore),
    }
    with frozen(n.D):
        of_G, _, skipped_G = descend(terms, [o.G, o.S] if restore else [o.G])
    return of_D | of_G | {"gan/skipped": skipped_D + skipped_G}


def _image(n: Networks, gL: Tensor, style: Tensor | None, s: Settings) -> Tensor:
    with s.autocast():
        image: Tensor = n.G(gL, style).float()
    return image


def _style(n: Networks, I: Tensor, s: Settings) -> Tensor:
    with s.autocast():
        style: Tensor = n.S(I)
    return style


def _logits(n: Networks, image: Tensor, gL: Tensor, s: Settings) -> Tensor:
    with s.autocast():
        logits: Tensor = n.D(image, gL).float()
    return logits


def _game(n: Networks, gI: Tensor, I_F: Tensor, gL: Tensor, s: Settings) -> Tensor:
    return losses.discriminator(_logits(n, gI, gL, s), _logits(n, I_F, gL, s))


def _mismatch(n: Networks, gI: Tensor, gL: Tensor, s: Settings) -> Tensor:
    """A real image with another image's landmarks is a fake as well."""
    wrong = _logits(n, gI, ranks.own(ranks.whole(gL).roll(1, 0)), s)
    return losses.landmark_discriminator(-wrong, -wrong) / 2


def _penalty(n: Networks, gI: Tensor, gL: Tensor) -> Tensor:
    """R1, in float32: the second derivative does not survive bfloat16."""
    image = gI.detach().requires_grad_()
    return losses.gradient_penalty(n.D(image, gL), image)


def _L_style(n: Networks, I_F: Tensor, style: Tensor | None, g: Warp, s: Settings) -> Tensor:
    assert style is not None, "there is a style wherever there is a fake"
    S_F, S_gF = _style(n, torch.cat([I_F, g.images(I_F)]), s).float().chunk(2)
    return losses.style(S_F, style.mean(1).float(), S_gF)


def _styles(n: Networks, S_I: Tensor, s: Settings, generator: Generator) -> Tensor:
    """S learns to find on images the styles that S_o makes up, which stay as they are.

    G restores images in the styles S(I). Random styles are then styles of images, and what G learns by restoring, long
    before D has taught it anything, holds for G(L, S_o(z)) as well.
    """
    z = torch.randn(STYLES, s.model.style.latent, generator=generator, device=S_I.device)  # the same in all processes
    with torch.no_grad(), s.autocast():
        made_up = n.So(z)
    return losses.energy(ranks.whole(S_I.float()), made_up.float())
