"""Algorithm 2: one iteration of the landmark encoder, in the paper's letters (section 2).

I image, L heatmaps, X_L their coordinates, g random deformation, I_F fake, I_R restored image, X_b barycenter.
"""

import torch
from torch import Generator, Tensor

from brule import config
from brule.maths import heatmaps
from brule.maths.families import towards
from brule.maths.photometric import cutout, jitter
from brule.maths.warps import Warp
from brule.method import losses
from brule.method.bundle import Networks, Optimisers, frozen
from brule.method.context import Batch, Parts, Settings, condition, random_style, step
from brule.method.teacher import Calibration, project


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

    min over E of c5 R_b(X_L) + c6 R_g(L) + c7 H(L ‖ L_sp) + c8 L_D(L) + c9 ‖I_R − I‖₁ + c10 H(L(I_F) ‖ L), and the
    supervised loss where the batch has landmarks. Terms of weight 0 cost nothing; those of the GAN are multiplied by
    `ramp` in [0, 1]. Returns the losses by name, detached. Section 2.
    """
    s, I = settings, batch.I
    parts: Parts = {}
    with frozen(n.G, n.D, n.S, n.So):
        needs_clean = stage.regularise or ramp > 0 or (stage.target == "self" and s.loss.c6 > 0)
        log_L = X_L = None
        if needs_clean:
            with s.autocast():
                logits = n.E(I)
            log_L = heatmaps.log_probabilities(logits[-1])  # (B, K, D, D)
            X_L = heatmaps.coordinates(log_L.exp())  # (B, K, 2)
        total = _geometry(n, batch, X_L, s, stage, calibration, parts, generator)
        if stage.regularise and log_L is not None and X_L is not None:
            total = total + _regularisers(log_L, X_L, s, parts)
        if ramp > 0 and log_L is not None and X_L is not None:
            total = total + ramp * _generation(n, I, log_L, X_L, s, parts, generator)
        parts["encoder/total"] = total
        parts["encoder/skipped"] = 1.0 - step(total, [o.E], s.train.clip)
    n.E_ema.update_parameters(n.E)
    return {name: part.detach() for name, part in parts.items()}


def _geometry(
    n: Networks,
    batch: Batch,
    X_L: Tensor | None,
    s: Settings,
    stage: config.Stage,
    calibration: Calibration,
    parts: Parts,
    generator: Generator,
) -> Tensor:
    """c6 R_g(L(gI)), and the supervised loss, which asks the same of L(gI) with the true landmarks."""
    c, I = s.loss, batch.I
    labelled = batch.X is not None and c.supervised > 0
    total = I.new_zeros(())
    if c.c6 == 0 and not labelled:
        return total
    X = _target(n, batch, X_L, s, stage, calibration) if c.c6 > 0 else batch.X
    assert X is not None
    source = batch.X if labelled else X
    assert source is not None
    family = s.families[stage.warp]
    shape = towards(source, s.shapes, family.amplitude, generator) if family.amplitude > 0 else None
    g = Warp.sample(family, len(I), I.shape[-1], generator, source if shape is not None else None, shape)
    gI = cutout(jitter(g.images(I), s.train.jitter, generator), s.train.cutout, generator)
    with s.autocast():
        logits = n.E(gI)
    logits = [stack.float() for stack in logits]
    if c.c6 > 0:
        gX = g.points(X)
        parts["encoder/R_g"] = losses.geometric_regulariser(logits, gX, c.c6_entropy, c.c6_coordinates)
        if stage.target == "self" and c.two_sided and X_L is not None:
            # the other direction: the un-warped view learns from the warped one
            X_back = heatmaps.coordinates(heatmaps.log_probabilities(logits[-1]).exp()).detach()
            parts["encoder/R_g"] = parts["encoder/R_g"] + c.c6_coordinates * (g.points(X_L) - X_back).abs().mean()
        total = total + c.c6 * parts["encoder/R_g"]
    if labelled:
        assert batch.X is not None
        parts["encoder/supervised"] = losses.geometric_regulariser(
            logits, g.points(batch.X), c.c6_entropy, c.c6_coordinates
        )
        total = total + c.supervised * parts["encoder/supervised"]
    return total


def _target(
    n: Networks, batch: Batch, X_L: Tensor | None, s: Settings, stage: config.Stage, calibration: Calibration
) -> Tensor:
    """The points that g is applied to: X_b, the calibrated teacher's, or the encoder's own."""
    if stage.target == "barycenter":
        return s.X_b.expand(len(batch.I), -1, -1)
    if stage.target == "self":
        assert X_L is not None
        return X_L.detach()
    with torch.no_grad(), s.autocast():
        logits = n.E_ema(batch.I)[-1]
    X = heatmaps.coordinates(heatmaps.log_probabilities(logits).exp())
    if s.train.calibrate:
        calibration.observe(X if batch.primary is None else X[batch.primary])
        X = calibration.apply(X)
    return project(X, s.X_b) if stage.project else X


def _regularisers(log_L: Tensor, X_L: Tensor, s: Settings, parts: Parts) -> Tensor:
    """c5 R_b(X_L) + c7 H(L ‖ L_sp)."""
    c = s.loss
    total = X_L.new_zeros(())
    if c.c5 > 0:
        parts["encoder/R_b"] = losses.barycenter_regulariser(X_L, s.X_b, _barycenter_terms(c))
        total = total + c.c5 * parts["encoder/R_b"]
    if c.c7 > 0:
        parts["encoder/H_sparse"] = losses.concentration(log_L, X_L)
        total = total + c.c7 / heatmaps.PAPER_UNIT * parts["encoder/H_sparse"]
    return total


def _generation(
    n: Networks,
    I: Tensor,
    log_L: Tensor,
    X_L: Tensor,
    s: Settings,
    parts: Parts,
    generator: Generator,
) -> Tensor:
    """c8 L_D(L) + c9 ‖I_R − I‖₁ + c10 H(L(I_F) ‖ L), and L_decor."""
    c = s.loss
    total = X_L.new_zeros(())
    L_sp = condition(log_L, X_L, s)
    if c.c9 > 0:
        with s.autocast():
            I_R = n.G(L_sp, n.S(I)).float()
        parts["encoder/L_rec"] = losses.reconstruction(I_R, I)
        total = total + c.c9 * parts["encoder/L_rec"]
    if c.c8 > 0 or c.c10 > 0 or c.decorrelation > 0:
        with s.autocast(), torch.set_grad_enabled(c.c8 > 0 or not c.detach_fake):
            I_F = n.G(L_sp, random_style(n, len(I), s, generator)).float()
    if c.c8 > 0:
        with s.autocast():
            D_real, D_fake = n.D(I, L_sp).float(), n.D(I_F, L_sp).float()
        parts["encoder/L_D"] = losses.landmark_discriminator(D_real, D_fake)
        total = total + c.c8 * parts["encoder/L_D"]
    if c.c10 > 0 or c.decorrelation > 0:
        with s.autocast():
            L_F = n.E(I_F.detach() if c.detach_fake else I_F)[-1]
        log_F = heatmaps.log_probabilities(L_F)
    if c.c10 > 0:
        sparse = heatmaps.sparse(X_L.detach(), s.model.map_size)
        parts["encoder/H_cycle"] = heatmaps.cross_entropy(log_F, sparse)
        total = total + c.c10 * c.c10_entropy / heatmaps.PAPER_UNIT * parts["encoder/H_cycle"]
    if c.decorrelation > 0:
        with s.autocast():
            other = n.E(n.G(L_sp, random_style(n, len(I), s, generator)).float())[-1]
        X_1, X_2 = (heatmaps.coordinates(log.exp()) for log in (log_F, heatmaps.log_probabilities(other)))
        parts["encoder/L_decor"] = losses.decorrelation(X_1, X_2)
        total = total + c.decorrelation * parts["encoder/L_decor"]
    return total


def _barycenter_terms(c: config.Loss) -> losses.BarycenterTerms:
    t = c.tolerances
    return losses.BarycenterTerms(
        c.c11, c.c12, c.c13, c.coupling, c.alignment, c.ridge, c.detach_affine, (t.translation, t.affine, t.warp)
    )
