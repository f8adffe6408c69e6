"""Algorithm 2 where it moves the image: R_g, the warm start, and the supervised loss, which is R_g of true points.

I image, L heatmaps, X_L their coordinates, g random deformation, X_b barycenter.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from brule import config
from brule.maths import heatmaps
from brule.maths.families import towards
from brule.maths.photometric import cutout, jitter
from brule.maths.warps import Warp
from brule.method import losses
from brule.method.bundle import Networks
from brule.method.context import Batch, Parts, Settings
from brule.method.looking import Clean
from brule.method.teacher import Calibration, both_ways, project


@dataclass(frozen=True)
class Geometry:
    """These terms in one iteration of a stage."""

    n: Networks
    s: Settings
    stage: config.Stage
    calibration: Calibration
    generator: Generator

    def loss(self, batch: Batch, clean: Clean | None, parts: Parts) -> Tensor:
        """c6 R_g(L(gI)), or the warm start; and of labelled images the supervised loss.

        `clean`, what E finds on the image as it is, is needed by the target `self` alone. The terms join `parts`.
        """
        s, c = self.s, self.s.loss
        weight, name = (c.warm, "encoder/warm") if self.stage.target == "barycenter" else (c.c6, "encoder/R_g")
        total = batch.I.new_zeros(())
        known = 0 if batch.X is None else len(batch.X)
        asked = weight > 0 and known < len(batch.I)
        if not asked and not (known and c.supervised > 0):
            return total
        I = batch.I if asked else batch.I[:known]
        unknown = Batch(I[known:], None, None if batch.primary is None else batch.primary[known:])
        wanted = [] if batch.X is None else [batch.X]
        wanted += [self.target(unknown, clean and clean.after(known))] if asked else []
        source = torch.cat(wanted)  # (B, K, 2)
        g = self._deformation(source, I.shape[-1])
        gI = cutout(jitter(g.images(I), s.train.jitter, self.generator), s.train.cutout, self.generator)
        with s.autocast():
            logits = self.n.E(gI)  # a stack's maps each: (B, K, D, D)
        gX = g.points(source)
        if asked:
            unlabelled = [stack[known:] for stack in logits]
            parts[name] = losses.geometric_regulariser(unlabelled, gX[known:], c.c6_entropy, c.c6_coordinates)
            if self.stage.target == "self" and c.two_sided and clean:
                # the other direction: the un-warped view learns from the warped one
                X_gI = heatmaps.coordinates(heatmaps.log_probabilities(logits[-1]).exp()).detach()
                gap = (g.points(clean.X_L) - X_gI)[known:]
                parts[name] = parts[name] + c.c6_coordinates * gap.abs().mean()
            total = total + weight * parts[name]
        if known and c.supervised > 0:
            labelled = [stack[:known] for stack in logits]
            true = losses.geometric_regulariser(labelled, gX[:known], c.c6_entropy, c.c6_coordinates)
            parts["encoder/supervised"] = true
            total = total + c.supervised * true
        return total

    def _deformation(self, source: Tensor, size: int) -> Warp:
        """A fresh g for each image; with an amplitude it first carries the landmarks towards an unpaired shape."""
        s, family = self.s, self.s.families[self.stage.warp]
        if family.amplitude == 0:
            return Warp.sample(family, len(source), size, self.generator)
        shapes = towards(source, s.shapes, family.amplitude, self.generator)
        return Warp.sample(family, len(source), size, self.generator, source, shapes)

    def target(self, batch: Batch, clean: Clean | None) -> Tensor:
        """The points that g is applied to: X_b (warm start), the calibrated teacher's, or the encoder's own."""
        s, stage = self.s, self.stage
        if stage.target == "barycenter":
            return s.X_b.expand(len(batch.I), -1, -1)
        if stage.target == "self" and clean:
            return clean.X_L.detach()
        X = both_ways(self._found, batch.I, s.permutation)
        if s.train.calibrate:
            X = self.calibration.tie(X, batch.primary, stage.modes, stage.keep)
        return project(X, s.X_b) if stage.project else X

    @torch.no_grad()
    def _found(self, I: Tensor) -> Tensor:
        """The teacher's points of I; with a view g⁻¹ X(gI), a fresh g of this family for each image."""
        g = None
        if self.stage.view is not None:
            g = Warp.sample(self.s.families[self.stage.view], len(I), I.shape[-1], self.generator)
        with self.s.autocast():
            logits = self.n.E_ema(I if g is None else g.images(I))[-1]
        X = heatmaps.coordinates(heatmaps.log_probabilities(logits).exp())
        return X if g is None else g.origins(X)
