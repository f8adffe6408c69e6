"""Algorithm 2: one iteration of the landmark encoder, in the paper's letters (section 2).

I image, L heatmaps, X_L their coordinates, g random deformation, I_F fake, I_R restored image, X_b barycenter.


Algorithm 2's terms that need the GAN: what it has to say about the landmarks."""

import torch
from torch import Generator, Tensor

from brule import config
from brule.maths import heatmaps
from brule.maths.images import cutout, jitter
from brule.maths.warps import Warp
from brule.method import losses
from brule.method.context import (
    Batch,
    Clean,
    Networks,
    Optimisers,
    Parts,
    Settings,
    condition,
    frozen,
    look,
    random_style,
    step,
)
from brule.method.geometry import Calibration, Geometry


def encoder_iteration(
    n: Networks,
    o: Optimisers,
    batch: Batch,
    settings: Settings,
    stage: config.Stage,
    calibration: Calibration,
    ramp: float,
    generator: Generator,
) -> Parts:
    """Algorithm 2: one iteration of the landmark encoder; G, D and S are frozen.

    min over E of c5 R_b(X_L) + c6 R_g(L) + c7 H(L ‖ L_sp) + c8 L_D(L) + c9 ‖I_R − I‖₁ + c10 H(L(I_F) ‖ L)

    and `loss.cycle` times `generative.cycle`, the last term for unpaired shapes in the place of L. For images with
    landmarks the supervised loss takes the place of c6 R_g(L). Terms of weight 0 cost nothing; those of the GAN are
    multiplied by `ramp` in [0, 1]. Returns the losses by name, detached. Section 2.
    """
    s, c = settings, settings.loss
    regularised = stage.regularise and (c.c5 > 0 or c.c7 > 0)
    generative = ramp > 0 and max(c.c8, c.c9, c.c10, c.decorrelation) > 0
    parts: Parts = {}
    with frozen(n.G, n.D, n.S, n.So):
        needed = regularised or generative or (stage.target == "self" and c.c6 > 0)
        clean = look(n, batch.I, s) if needed else None
        total = Geometry(n, s, stage, calibration, generator).loss(batch, clean, parts)
        if regularised and clean:
            total = total + _regularisers(clean, s, parts)
        if generative and clean:
            total = total + ramp * generation(n, batch.I, clean, s, parts, generator)
        if ramp > 0 and c.cycle > 0:
            parts["encoder/cycle"] = cycle(n, batch.I, s, generator)
            total = total + ramp * c.cycle * parts["encoder/cycle"]
        parts["encoder/total"] = total
        parts["encoder/skipped"] = 1.0 - step(total, [o.E], s.train.clip)
    n.E_ema.update_parameters(n.E)
    return {name: part.detach() for name, part in parts.items()}


def _regularisers(clean: Clean, s: Settings, parts: Parts) -> Tensor:
    """c5 R_b(X_L) + c7 H(L ‖ L_sp)."""
    c, (log_L, X_L) = s.loss, clean
    total = X_L.new_zeros(())
    if c.c5 > 0:
        parts["encoder/R_b"] = losses.barycenter_regulariser(X_L, s.X_b, _barycenter_terms(c))
        total = total + c.c5 * parts["encoder/R_b"]
    if c.c7 > 0:
        parts["encoder/H_sparse"] = losses.concentration(log_L, X_L)
        total = total + c.c7 / heatmaps.PAPER_UNIT * parts["encoder/H_sparse"]
    return total


def _barycenter_terms(c: config.Loss) -> losses.BarycenterTerms:
    t = c.tolerances
    return losses.BarycenterTerms(
        c.c11, c.c12, c.c13, c.coupling, c.alignment, c.ridge, c.detach_affine, (t.translation, t.affine, t.warp)
    )


def generation(n: Networks, I: Tensor, clean: Clean, s: Settings, parts: Parts, generator: Generator) -> Tensor:
    """c8 L_D(L) + c9 ‖I_R − I‖₁ + c10 H(L(I_F) ‖ L), and L_decor: what the GAN has to say about the landmarks."""
    c, (log_L, X_L) = s.loss, clean
    L_sp = condition(log_L, X_L, s)  # (B, K, D, D)
    weights: dict[str, float] = {}
    if c.c9 > 0:
        with s.autocast():
            I_R = n.G(L_sp, n.S(I)).float()  # (B, 3, S, S)
        parts["encoder/L_rec"], weights["encoder/L_rec"] = losses.reconstruction(I_R, I), c.c9
    if max(c.c8, c.c10, c.decorrelation) > 0:
        with s.autocast(), torch.set_grad_enabled(c.c8 > 0 or not c.detach_fake):
            I_F = n.G(L_sp, random_style(n, len(I), s, generator)).float()  # (B, 3, S, S)
    if c.c8 > 0:
        with s.autocast():
            D_real, D_fake = n.D(I, L_sp).float(), n.D(I_F, L_sp).float()
        parts["encoder/L_D"], weights["encoder/L_D"] = losses.landmark_discriminator(D_real, D_fake), c.c8
    if max(c.c10, c.decorrelation) > 0:
        fake = look(n, I_F.detach() if c.detach_fake else I_F, s)
    if c.c10 > 0:
        parts["encoder/H_cycle"] = heatmaps.cross_entropy(fake.log_L, log_L.exp().detach())
        weights["encoder/H_cycle"] = c.c10 * c.c10_entropy / heatmaps.PAPER_UNIT
    if c.decorrelation > 0:
        with s.autocast():
            other = n.G(L_sp, random_style(n, len(I), s, generator)).float()
        parts["encoder/L_decor"] = losses.decorrelation(fake.X_L, look(n, other, s).X_L)
        weights["encoder/L_decor"] = c.decorrelation
    return torch.stack([weight * parts[name] for name, weight in weights.items()]).sum()


def cycle(n: Networks, I: Tensor, s: Settings, generator: Generator) -> Tensor:
    """R_g(L(I_F)) with the target gs, I_F = G(gs, S(I)): E must find on a fake the shape that G was told to draw.

    As H(L(I_F) ‖ L), but for random shapes s of the unpaired set, moved by the g of `train.gan_warp`, in the place of
    the landmarks that E itself has found: true shapes, and more of them than there are images. G is its moving average,
    and E alone learns. A fake is disguised as the warped images of R_g are, by jitter and blanks.
    """
    with torch.no_grad():
        chosen = torch.randint(len(s.shapes), (len(I),), generator=generator, device=I.device)
        g = Warp.sample(s.families[s.train.gan_warp], len(I), I.shape[-1], generator)
        X = g.points(s.shapes[chosen])  # (B, K, 2)
        with s.autocast():
            L_sp = heatmaps.condition(X, s.model.map_size, s.model.condition_sigma)
            I_F = n.G_ema(L_sp, n.S(I)).float().clamp(-1, 1)
        I_F = cutout(jitter(I_F, s.train.jitter, generator), s.train.cutout, generator)
    with s.autocast():
        logits = n.E(I_F)  # a stack's maps each
    return losses.geometric_regulariser(logits, X, s.loss.c6_entropy, s.loss.c6_coordinates)
