"""Batches of the prepared faces as tensors, mirrored at random where the landmark scheme allows."""

import numpy as np
import torch
from torch import Tensor

from brule.data.faces import Faces
from brule.maths.mirror import mirror, mirror_points
from brule.maths.pixels import to_tensor
from brule.method.context import Batch
from brule.method.randomness import Order, generator


class Batches:
    """A stream of batches: `at(turn)` depends on the seed and the turn alone.

    `permutation` (K,) tells which landmarks swap in the mirror; None: nothing is mirrored. Landmarks travel along where
    the faces have them; an unsupervised run never opens them.
    """

    def __init__(
        self,
        faces: Faces,
        permutation: Tensor | None,
        size: int,
        seed: int,
        purpose: str,
        device: torch.device,
    ) -> None:
        self.faces, self.seed, self.purpose, self.device = faces, seed, purpose, device
        self.order = Order(len(faces.images), size, seed, f"{purpose}/order")
        self.permutation = permutation
        framed = faces.index["framed"].to_numpy(dtype=bool)
        self.primary = None if framed.all() else framed

    def at(self, turn: int) -> Batch:
        """The turn-th batch."""
        rows = self.order.rows(turn)
        I = to_tensor(self.faces.images[rows], self.device)
        X = None
        if self.faces.landmarks is not None:
            X = torch.from_numpy(np.asarray(self.faces.landmarks[rows], np.float32)).to(self.device)
        if self.permutation is not None:
            random = generator(self.seed, turn, f"{self.purpose}/flip", self.device)
            flipped = torch.rand(len(rows), generator=random, device=self.device) < 0.5
            I = mirror(I, flipped)
            X = None if X is None else mirror_points(X, flipped, self.permutation)
        primary = None if self.primary is None else torch.from_numpy(self.primary[rows]).to(self.device)
        return Batch(I, X, primary)
