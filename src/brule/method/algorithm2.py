"""Algorithm 2: one iteration of the landmark encoder, in the paper's letters (section 2).

I image, L heatmaps, X_L their coordinates, g random deformation, I_F fake, I_R restored image, X_b barycenter.
"""

from torch import Generator, Tensor

from brule import config
from brule.maths import heatmaps
from brule.method import losses
from brule.method.bundle import Networks, Optimisers, frozen
from brule.method.context import Batch, Parts, Settings, step
from brule.method.generative import cycle, generation
from brule.method.geometry import Geometry
from brule.method.looking import Clean, look
from brule.method.teacher import Calibration


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
