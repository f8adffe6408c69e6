"""Algorithm 2 where it moves the image: R_g, its g and its target, the warm start, and the supervised loss.

R_g asks that L(gI) be gX: of a teacher's landmarks, which are tied to the barycenter and to the prior of shapes, of X_b
(the warm start), of E's own (the paper), or of true ones (the supervised loss). Letters as in Algorithm 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from brule import config
from brule.maths import heatmaps, transport
from brule.maths.images import mirror_all
from brule.maths.photometric import cutout, jitter
from brule.maths.warps import Warp, towards
from brule.method import losses, ranks
from brule.method.context import Batch, Landmarks, Networks, Settings

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

    All of it is small, and computed on the CPU: eigenvectors of small matrices take a GPU longer.
    """

    def __init__(self, X_b: Tensor, shapes: Tensor, momentum: float = 0.02, framed: bool = True) -> None:
        self.X_b = X_b.cpu()  # (K, 2)
        self.momentum = momentum
        self.framed = framed
        self.count = 0  # batches seen
        self.mean: Tensor | None = None  # μ: (K, 2)
        self.covariance: Tensor | None = None  # Σ: (2K, 2K), float64
        vectors = shapes.cpu().double().flatten(1)
        _, scales, modes = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
        most = len(shapes) // SHAPES_PER_MODE
        self.modes = modes[:most].mT  # (2K, r), columns of length 1
        self.variances = scales[:most].square() / len(shapes)  # (r,)

    def tie(self, X: Tensor, primary: Tensor | None, modes: int, keep: float) -> Tensor:
        """Observe a batch of the teacher's points (B, K, 2), and carry it onto the prior.

        primary (B,) bool: images cropped as the shapes are; None: all. Others, beside them, do not enter the moments,
        and only the mean error is taken off them. The result lies where X does.
        """
        return self._tied(X.cpu(), None if primary is None else primary.cpu(), modes, keep).to(X.device)

    def _tied(self, X: Tensor, primary: Tensor | None, modes: int, keep: float) -> Tensor:
        if primary is None or not self.framed:
            self.observe(ranks.whole(X))
            return self.apply(X, modes if self.framed else 0, keep)
        everyone = ranks.whole(X)
        self.observe(everyone[ranks.whole(primary)], len(everyone))
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
        self.mean = mean.cpu() if isinstance(mean, Tensor) else None
        self.covariance = covariance.cpu() if isinstance(covariance, Tensor) else None


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


class Moved(NamedTuple):
    """What E's answers on the warped images cost."""

    R_g: Tensor
    """Of the images without landmarks."""
    supervised: Tensor
    """Of those with landmarks."""


@dataclass(frozen=True)
class Geometry:
    """g, and what it asks of E, in one iteration of a stage."""

    n: Networks
    s: Settings
    stage: config.Stage
    generator: Generator

    def asks(self, batch: Batch) -> bool:
        """There are images without landmarks, and their R_g weighs something."""
        c = self.s.loss
        return batch.labelled < len(batch.I) and (c.warm if self.stage.target == "barycenter" else c.c6) > 0

    def losses(self, batch: Batch, L: Callable[[], Landmarks], taught: Tensor | None) -> Moved:
        """R_g(L(gI)) against the stage's target, and the supervised loss against true landmarks; NaN where of none.

        L: what E finds on the image as it is; asked for where the target is `self`. taught (B', K, 2): the teacher's
        points of the images without landmarks, where it is the target. Where R_g weighs nothing, these images are left
        out.
        """
        s, c, known = self.s, self.s.loss, batch.labelled
        asked = self.asks(batch)
        I = batch.I if asked else batch.I[:known]
        clean = L().after(known) if asked and self.stage.target == "self" else None
        wanted = [] if batch.X is None else [batch.X]
        if asked:
            wanted.append(self._target(len(I) - known, clean, taught))
        X = torch.cat(wanted)  # (B, K, 2)
        g = self._deformation(X, I.shape[-1])
        gI = cutout(jitter(g.images(I), s.augment.jitter, self.generator), s.augment.cutout, self.generator)
        with s.autocast():
            logits = self.n.E(gI)  # a stack's maps each: (B, K, D, D)
        gX = g.points(X)

        def cost(rows: slice) -> Tensor:
            stacks = [stack[rows] for stack in logits]
            return losses.geometric_regulariser(stacks, gX[rows], c.c6_entropy, c.c6_coordinates)

        none = gX.new_full((), torch.nan)
        R_g = cost(slice(known, None)) if asked else none
        if clean and c.two_sided:  # the un-warped view learns from the warped one
            X_gI = heatmaps.coordinates(heatmaps.log_probabilities(logits[-1]).exp()).detach()
            R_g = R_g + c.c6_coordinates * (g.points(L().X_L) - X_gI)[known:].abs().mean()
        return Moved(R_g, cost(slice(known)) if known and c.supervised > 0 else none)

    def _deformation(self, X: Tensor, size: int) -> Warp:
        """A fresh g for each image; with an amplitude it first carries the landmarks X towards an unpaired shape."""
        s, family = self.s, self.s.families[self.stage.warp]
        if family.amplitude == 0:
            return Warp.sample(family, len(X), size, self.generator)
        shapes = towards(X, s.shapes, family.amplitude, self.generator)
        return Warp.sample(family, len(X), size, self.generator, X, shapes)

    def _target(self, count: int, clean: Landmarks | None, taught: Tensor | None) -> Tensor:
        """The points that g is applied to: X_b (warm start), the teacher's, or the encoder's own."""
        if clean:
            return clean.X_L.detach()
        if taught is None:
            return self.s.X_b.expand(count, -1, -1)
        return project(taught, self.s.X_b) if self.stage.project else taught

    @torch.no_grad()
    def teacher(self, I: Tensor) -> Tensor:
        """The teacher's points of I, (B, K, 2), before they are tied to the prior."""
        return both_ways(self._seen, I, self.s.permutation)

    def _seen(self, I: Tensor) -> Tensor:
        """The teacher's points of I; with a view g⁻¹ X(gI), a fresh g of this family for each image."""
        if self.stage.view is None:
            return self._points(I)
        g = Warp.sample(self.s.families[self.stage.view], len(I), I.shape[-1], self.generator)
        return g.origins(self._points(g.images(I)))

    def _points(self, I: Tensor) -> Tensor:
        with self.s.autocast():
            logits = self.n.E_ema(I)[-1]
        return heatmaps.soft_argmax(logits)
