"""What R_g asks of L(gI): the points that g is applied to, tied to the barycenter and to the prior of shapes."""

from collections.abc import Callable

import torch
from torch import Tensor

from brule.maths import transport
from brule.maths.mirror import mirror_all

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
