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
from brule.method.context import Batch, Parts, Settings, step
from brule.method.generative import cycle, generation
from brule.method.looking import Clean, look
from brule.method.teacher import Calibration, both_ways, project


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
        total = _geometry(n, batch, clean, s, stage, calibration, parts, generator)
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


def _geometry(
    n: Networks,
    batch: Batch,
    clean: Clean | None,
    s: Settings,
    stage: config.Stage,
    calibration: Calibration,
    parts: Parts,
    generator: Generator,
) -> Tensor:
    """c6 R_g(L(gI)), or the warm start; and of labelled images the supervised loss, the same with true landmarks."""
    c = s.loss
    weight, name = (c.warm, "encoder/warm") if stage.target == "barycenter" else (c.c6, "encoder/R_g")
    total = batch.I.new_zeros(())
    known = 0 if batch.X is None else len(batch.X)
    asked = weight > 0 and known < len(batch.I)
    if not asked and not (known and c.supervised > 0):
        return total
    I = batch.I if asked else batch.I[:known]
    unknown = Batch(I[known:], None, None if batch.primary is None else batch.primary[known:])
    wanted = [] if batch.X is None else [batch.X]
    wanted += [_target(n, unknown, clean and clean.after(known), s, stage, calibration, generator)] if asked else []
    source = torch.cat(wanted)  # (B, K, 2)
    g = _deformation(s, stage.warp, source, I.shape[-1], generator)
    gI = cutout(jitter(g.images(I), s.train.jitter, generator), s.train.cutout, generator)
    with s.autocast():
        logits = n.E(gI)  # a stack's maps each: (B, K, D, D)
    gX = g.points(source)
    if asked:
        unlabelled = [stack[known:] for stack in logits]
        parts[name] = losses.geometric_regulariser(unlabelled, gX[known:], c.c6_entropy, c.c6_coordinates)
        if stage.target == "self" and c.two_sided and clean:
            # the other direction: the un-warped view learns from the warped one
            X_gI = heatmaps.coordinates(heatmaps.log_probabilities(logits[-1]).exp()).detach()
            gap = (g.points(clean.X_L) - X_gI)[known:]
            parts[name] = parts[name] + c.c6_coordinates * gap.abs().mean()
        total = total + weight * parts[name]
    if known and c.supervised > 0:
        labelled = [stack[:known] for stack in logits]
        parts["encoder/supervised"] = losses.geometric_regulariser(labelled, gX[:known], c.c6_entropy, c.c6_coordinates)
        total = total + c.supervised * parts["encoder/supervised"]
    return total


def _deformation(s: Settings, name: str, source: Tensor, size: int, generator: Generator) -> Warp:
    """A fresh g for each image; with an amplitude it first carries the landmarks towards an unpaired shape."""
    family = s.families[name]
    if family.amplitude == 0:
        return Warp.sample(family, len(source), size, generator)
    return Warp.sample(
        family, len(source), size, generator, source, towards(source, s.shapes, family.amplitude, generator)
    )


def _target(
    n: Networks,
    batch: Batch,
    clean: Clean | None,
    s: Settings,
    stage: config.Stage,
    calibration: Calibration,
    generator: Generator,
) -> Tensor:
    """The points that g is applied to: X_b (warm start), the calibrated teacher's, or the encoder's own."""
    if stage.target == "barycenter":
        return s.X_b.expand(len(batch.I), -1, -1)
    if stage.target == "self" and clean:
        return clean.X_L.detach()
    X = both_ways(lambda I: _found(n, I, s, stage.view, generator), batch.I, s.permutation)
    if s.train.calibrate:
        X = calibration.tie(X, batch.primary, stage.modes, stage.keep)
    return project(X, s.X_b) if stage.project else X


@torch.no_grad()
def _found(n: Networks, I: Tensor, s: Settings, view: str | None, generator: Generator) -> Tensor:
    """The teacher's points of I; with a view g⁻¹ X(gI), a fresh g of this family for each image."""
    g = None if view is None else Warp.sample(s.families[view], len(I), I.shape[-1], generator)
    with s.autocast():
        logits = n.E_ema(I if g is None else g.images(I))[-1]
    X = heatmaps.coordinates(heatmaps.log_probabilities(logits).exp())
    return X if g is None else g.origins(X)


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
