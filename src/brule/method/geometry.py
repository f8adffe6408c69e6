"""What R_g asks of L(gI): the points that g is applied to, tied to the barycenter and to the prior of shapes.

Algorithm 2 where it moves the image: R_g, the warm start, and the supervised loss, which is R_g of true points.

I image, L heatmaps, X_L their coordinates, g random deformation, X_b barycenter.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from brule import config
from brule.maths import heatmaps, transport
from brule.maths.images import cutout, jitter, mirror_all
from brule.maths.warps import Warp, towards
from brule.method import losses
from brule.method.context import Batch, Clean, Networks, Parts, Settings

SHAPES_PER_MODE = 5
"""A mode of fewer shapes is an accident of the few that were given."""


class Calibration:
    """The data-set form of R_b: the teacher's points, as a cloud over all images, are carried onto the prior's.

    X̂ ← X_b + T P (X̂ − μ) + keep · (1 − P)(X̂ − μ), for X̂ as a vector of 2K numbers. μ, Σ: running mean and covariance
    of X̂ over the data set. P: onto the leading modes of the unpaired shapes. T: the optimal transport from N(0, Σ) to
    the Gaussian of the shapes, inside these modes. Without modes only the mean is tied, X̂ ← X̂ − μ + X_b, which needs
    X_b alone. A teacher shrinks its landmarks a little at every turn (the expectation of a blurred map is pulled
    inwards), and its students repeat its systematic errors; tying the moments of its answers stops both.

    framed: some images are cropped as the shapes are, by the box of their landmarks. Where none is, their shifts and
    sizes are unlike the shapes', the modes know nothing of them, and the mean alone is tied, of all images.
    """

    def __init__(self, X_b: Tensor, shapes: Tensor, momentum: float = 0.02, framed: bool = True) -> None:
        self.X_b = X_b  # (K, 2)
        self.momentum = momentum
        self.framed = framed
        self.count = 0  # batches seen
        self.mean: Tensor | None = None  # μ: (K, 2)
        self.covariance: Tensor | None = None  # Σ: (2K, 2K), float64
        vectors = shapes.double().flatten(1)
        _, scales, modes = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
        most = len(shapes) // SHAPES_PER_MODE
        self.modes = modes[:most].mT  # (2K, r), columns of length 1
        self.variances = scales[:most].square() / len(shapes)  # (r,)

    def tie(self, X: Tensor, primary: Tensor | None, modes: int, keep: float) -> Tensor:
        """Observe a batch of the teacher's points (B, K, 2), and carry it onto the prior.

        primary (B,) bool: images cropped as the shapes are; None: all. Others, beside them, do not enter the moments,
        and only the mean error is taken off them.
        """
        if primary is None or not self.framed:
            self.observe(X)
            return self.apply(X, modes if self.framed else 0, keep)
        self.observe(X[primary], len(X))
        return torch.where(primary[:, None, None], self.apply(X, modes, keep), self.apply(X))

    def observe(self, X: Tensor, batch: int | None = None) -> None:
        """Let the teacher's points (B', K, 2) of a batch of B ≥ B' images move μ and Σ; the first ones count alike."""
        whole = batch or len(X)
        X = X.detach()
        X = X[torch.isfinite(X).all((1, 2))]  # one bad batch must not stay in the running moments
        if len(X) == 0:
            return
        self.count += 1
        share = max(self.momentum * len(X) / whole, 1 / self.count)  # so that as many images are remembered
        self.mean = X.mean(0) if self.mean is None else torch.lerp(self.mean, X.mean(0), share)
        centred = (X - self.mean).double().flatten(1)
        spread = centred.mT @ centred / len(X)
        self.covariance = spread if self.covariance is None else torch.lerp(self.covariance, spread, share)

    def apply(self, X: Tensor, modes: int = 0, keep: float = 1.0) -> Tensor:
        """Carry points (B, K, 2) onto the prior in its `modes` leading modes, and keep a share of what lies outside.

        Where the shapes are too few for as many modes, all that lies outside is kept.
        """
        if self.mean is None or self.covariance is None:
            return X
        if modes > self.modes.shape[1]:
            modes, keep = self.modes.shape[1], 1.0
        centred = X - self.mean
        if modes == 0:
            return centred + self.X_b
        P, variances = self.modes[:, :modes], self.variances[:modes]
        T = transport.gaussian(P.mT @ self.covariance @ P, variances.diag())
        vectors = centred.double().flatten(1)
        inside = vectors @ P
        moved = inside @ T @ P.mT + keep * (vectors - inside @ P.mT)
        carried: Tensor = self.X_b + moved.to(X.dtype).view_as(X)
        return carried

    def state(self) -> dict[str, Tensor | int | None]:
        """What a resumed run needs."""
        return {"count": self.count, "mean": self.mean, "covariance": self.covariance}

    def restore(self, state: dict[str, Tensor | int | None]) -> None:
        """The inverse of `state`."""
        count, mean, covariance = state["count"], state["mean"], state["covariance"]
        self.count = int(count or 0)
        self.mean = mean.to(self.X_b.device) if isinstance(mean, Tensor) else None
        self.covariance = covariance.to(self.X_b.device) if isinstance(covariance, Tensor) else None


def project(X: Tensor, X_b: Tensor) -> Tensor:
    """The best similarity of X_b for each row of X: (B, K, 2). Early teachers know pose long before they know shape."""
    return transport.similarity(X_b.expand_as(X), X)


def both_ways(points: Callable[[Tensor], Tensor], I: Tensor, permutation: Tensor | None) -> Tensor:
    """The mean of the points (B, K, 2) found on I (B, 3, S, S) and, mirrored back, on its mirror image.

    permutation (K,): which landmarks swap in a mirror; None: the object has no such symmetry, and I is all there is.
    """
    if permutation is None:
        return points(I)
    straight, mirrored = points(torch.cat((I, I.flip(-1)))).chunk(2)
    return (straight + mirror_all(mirrored, permutation)) / 2


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
