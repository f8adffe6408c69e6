"""What R_g asks of L(gI): the points that g is applied to, with the calibration that ties their mean to X_b."""

import torch
from torch import Tensor

from brule.maths import transport


class Calibration:
    """The data-set form of R_b: points are shifted so that their running mean over the data set is X_b.

    X̂ ← X̂ − μ + X_b with μ ← (1 − momentum)·μ + momentum·mean(X̂). A teacher shrinks its landmarks a little at every turn
    (the expectation of a blurred map is pulled inwards); tying the first moment to the barycenter stops the drift.
    """

    def __init__(self, X_b: Tensor, momentum: float = 0.02) -> None:
        self.X_b = X_b  # (K, 2)
        self.momentum = momentum
        self.mean: Tensor | None = None  # μ: (K, 2)

    def observe(self, X: Tensor) -> None:
        """Let a batch of teacher's points (B, K, 2) move μ; the first call sets it."""
        if len(X) == 0:
            return
        mean = X.detach().mean(0)
        self.mean = mean if self.mean is None else torch.lerp(self.mean, mean, self.momentum)

    def apply(self, X: Tensor) -> Tensor:
        """X − μ + X_b: (B, K, 2)."""
        return X if self.mean is None else X - self.mean + self.X_b


def project(X: Tensor, X_b: Tensor) -> Tensor:
    """The best similarity of X_b for each row of X: (B, K, 2). Early teachers know pose long before they know shape."""
    return transport.similarity(X_b.expand_as(X), X)
