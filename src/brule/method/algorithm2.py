"""Algorithm 2: one iteration of the landmark encoder, in the paper's letters (section 2).

I image, L heatmaps, X_L their coordinates, g random deformation, I_F fake, I_R restored image, X_b barycenter.
"""

import torch
from torch import Generator, Tensor

from brule import config
from brule.maths import draws, heatmaps
from brule.maths.photometric import cutout, jitter
from brule.maths.warps import Warp
from brule.method import losses
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
from brule.method.geometry import Calibration, Geometry
from brule.method.graphs import Play, plainly


def encoder_iteration(
    n: Networks,
    o: Optimisers,
    batch: Batch,
    s: Settings,
    stage: config.Stage,
    calibration: Calibration,
    ramp: float,
    generator: Generator,
    play: Play = plainly,
) -> Parts:
    """Algorithm 2: one iteration of the landmark encoder; G, D and S are frozen.

    min over E of c5 R_b(X_L) + c6 R_g(L) + c7 H(L ‖ L_sp) + c8 L_D(L) + c9 ‖I_R − I‖₁ + c10 H(L(I_F) ‖ L)

    and, where they are switched on, L_decor and the cycle on unpaired shapes. For images with landmarks the supervised
    loss takes the place of c6 R_g(L). `ramp` in [0, 1] multiplies the terms that need the GAN. Returns the losses by
    name, detached. Section 2.

    `play` calls what is computed where the images are. Only the teacher's points, between its two calls, are tied to
    the prior on the CPU.
    """
    geometry, known = Geometry(n, s, stage, generator), batch.labelled
    taught = None
    if stage.target == "teacher" and geometry.asks(batch):
        seen = play(("teacher", stage), lambda I: {"X": geometry.teacher(I)}, [batch.I[known:]], generator)
        primary = None if batch.primary is None else batch.primary[known:]
        taught = seen["X"]
        if s.train.calibrate:
            keep = 1.0 if stage.keep is None else stage.keep
            taught = calibration.tie(taught, primary, stage.modes or 0, keep)

    # While it rises it is an input, so that one recording serves all iterations.
    rising = torch.full((), ramp, device=batch.I.device) if 0 < ramp < 1 else None

    def step(I: Tensor, X: Tensor | None, taught: Tensor | None, rising: Tensor | None) -> Parts:
        return _step(n, o, Batch(I, X), s, geometry, taught, ramp if rising is None else rising)

    asks_the_cpu = s.loss.coupling == "ot" and s.loss.c5 > 0 and stage.regularise
    key = None if asks_the_cpu else ("step", stage, None if rising is not None else ramp)
    parts = play(key, step, [batch.I, batch.X, taught, rising], generator)
    n.E_ema.update_parameters(n.E)
    return parts


def _step(
    n: Networks,
    o: Optimisers,
    batch: Batch,
    s: Settings,
    geometry: Geometry,
    taught: Tensor | None,
    ramp: float | Tensor,
) -> Parts:
    """The descent of Algorithm 2. taught: the teacher's points, where R_g asks for them."""
    I, c, stage, generator = batch.I, s.loss, geometry.stage, geometry.generator
    regularise, detached = bool(stage.regularise), not c.fake_gradient

    L = once(lambda: landmarks(n.E, I, s))  # L = L(I) and X_L
    L_sp = once(lambda: condition(L(), s))
    g = once(lambda: geometry.losses(batch, L, taught))
    I_F = once(lambda: _drawn(n, L_sp(), s, generator, learns=c.c8 > 0 or not detached))
    I_R = once(lambda: _restored(n, L_sp(), I, s))
    L_F = once(lambda: landmarks(n.E, I_F().detach() if detached else I_F(), s))

    R_g, unlabelled = ("warm", c.warm) if stage.target == "barycenter" else ("R_g", c.c6), batch.labelled < len(I)
    terms = {
        "encoder/R_b": Term(c.c5, lambda: losses.barycenter_regulariser(L().X_L, s.X_b, _R_b(c)), regularise),
        f"encoder/{R_g[0]}": Term(R_g[1], lambda: g().R_g, unlabelled),
        "encoder/supervised": Term(c.supervised, lambda: g().supervised, batch.labelled > 0),
        "encoder/H_sparse": Term(c.c7 / heatmaps.PAPER_UNIT, lambda: losses.concentration(*L()), regularise),
        "encoder/L_rec": Term(c.c9, lambda: losses.reconstruction(I_R(), I), ramp),
        "encoder/L_D": Term(c.c8, lambda: _L_D(n, I, I_F(), L_sp(), s), ramp),
        "encoder/H_cycle": Term(
            c.c10 * c.c10_entropy / heatmaps.PAPER_UNIT,
            lambda: heatmaps.cross_entropy(L_F().log_L, L().log_L.exp().detach()),
            ramp,
        ),
        "encoder/L_decor": Term(c.decorrelation or 0, lambda: _L_decor(n, L_F().X_L, L_sp(), s, generator), ramp),
        "encoder/cycle": Term(c.cycle or 0, lambda: cycle(n, I, s, generator), ramp),
    }
    with frozen(n.G, n.D, n.S, n.So):
        parts, total, skipped = descend(terms, [o.E], s.clip)
    return parts | {"encoder/total": total, "encoder/skipped": skipped}


def _R_b(c: config.Loss) -> losses.BarycenterTerms:
    free = (c.tolerances.translation, c.tolerances.affine, c.tolerances.warp)
    choices = (c.coupling, c.alignment, bool(c.detach_affine))
    return losses.BarycenterTerms(c.c11, c.c12, c.c13, *choices, tolerances=free)


def _drawn(n: Networks, L_sp: Tensor, s: Settings, generator: Generator, learns: bool) -> Tensor:
    """I_F = G(L_sp, S_o(z)), (B, 3, S, S); with a gradient where the encoder `learns` from it."""
    with s.autocast(), torch.set_grad_enabled(learns):
        image: Tensor = n.G(L_sp, random_style(n, len(L_sp), s, generator)).float()
    return image


def _restored(n: Networks, L_sp: Tensor, I: Tensor, s: Settings) -> Tensor:
    """I_R = G(L_sp, S(I)), (B, 3, S, S)."""
    with s.autocast():
        image: Tensor = n.G(L_sp, n.S(I)).float()
    return image


def _L_D(n: Networks, I: Tensor, I_F: Tensor, L_sp: Tensor, s: Settings) -> Tensor:
    with s.autocast():
        return losses.landmark_discriminator(n.D(I, L_sp).float(), n.D(I_F, L_sp).float())


def _L_decor(n: Networks, X_F: Tensor, L_sp: Tensor, s: Settings, generator: Generator) -> Tensor:
    """The landmarks X_F of I_F against those of the same landmarks drawn in another style."""
    other = _drawn(n, L_sp, s, generator, learns=True)
    return losses.decorrelation(X_F, landmarks(n.E, other, s).X_L)


def cycle(n: Networks, I: Tensor, s: Settings, generator: Generator) -> Tensor:
    """R_g(L(I_F)) with the target gs, I_F = G(gs, S(I)): E must find on a fake the shape that G was told to draw.

    As H(L(I_F) ‖ L), but for random shapes s of the unpaired set, moved by the g of `train.gan_warp`, in the place of
    the landmarks that E itself has found: true shapes, and more of them than there are images. G is its moving average,
    and E alone learns. A fake is disguised as the warped images of R_g are, by jitter and blanks.
    """
    with torch.no_grad():
        chosen = draws.randint(0, len(s.shapes), (len(I),), generator)
        g = Warp.sample(s.families[s.train.gan_warp], len(I), I.shape[-1], generator)
        X = g.points(s.shapes[chosen])  # (B, K, 2)
        with s.autocast():
            L_sp = heatmaps.condition(X, s.model.map_size, s.model.condition_sigma)
            I_F = n.G_ema(L_sp, n.S(I)).float().clamp(-1, 1)
        I_F = cutout(jitter(I_F, s.augment.jitter, generator), s.augment.cutout, generator)
    with s.autocast():
        logits = n.E(I_F)  # a stack's maps each
    return losses.geometric_regulariser(logits, X, s.loss.c6_entropy, s.loss.c6_coordinates)
