"""Batches of the prepared crops, in an order and with mirror images that are functions of (seed, iteration, purpose).

So is every random number of training: nothing has to be saved, and resuming is exact.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from brule.data.prepared import Crops
from brule.maths import draws
from brule.maths.images import mirror, mirror_points, moved, to_numbers, to_tensor
from brule.method import ranks
from brule.method.context import Batch


def derive(seed: int, iteration: int, purpose: str) -> int:
    """A 63-bit seed, unrelated for any two different arguments."""
    digest = hashlib.sha256(f"{seed}/{iteration}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, iteration: int, purpose: str, device: torch.device) -> torch.Generator:
    """A fresh torch generator on `device`, for this process's rows."""
    together = ranks.count() > 1  # else torch's own class, since a CUDA graph takes no other
    fresh = draws.Part(device).of(ranks.rank(), ranks.count()) if together else torch.Generator(device)
    fresh.manual_seed(derive(seed, iteration, purpose))
    return fresh


class Order:
    """Rows of a data set in a new random order every epoch: `rows(turn)` is the turn-th batch, whatever came before."""

    def __init__(self, size: int, batch: int, seed: int, purpose: str) -> None:
        self.size, self.batch, self.seed, self.purpose = size, batch, seed, purpose
        self._epoch = -1
        self._permutation = np.arange(0)

    def rows(self, turn: int) -> np.ndarray:
        """Indices (batch,); an epoch's tail and the next epoch's head share a batch."""
        positions = np.arange(turn * self.batch, (turn + 1) * self.batch)
        return np.array([self._at(int(p) // self.size)[int(p) % self.size] for p in positions])

    def _at(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng(derive(self.seed, epoch, self.purpose)).permutation(self.size)
        return self._permutation


MOST = 1 / 8
"""The images of a data set stay on the GPU if they take at most this share of its free memory."""


def fits(images: npt.NDArray[np.uint8], device: torch.device) -> bool:
    """There is a GPU, and room in it for these images."""
    return device.type == "cuda" and images.nbytes <= MOST * torch.cuda.mem_get_info(device)[0]


def resident(images: npt.NDArray[np.uint8], device: torch.device) -> Tensor | None:
    """Images (N, S, S, 3) as bytes on the GPU; None where they do not fit, and on a CPU: they stay where they are."""
    return torch.from_numpy(np.array(images)).to(device) if fits(images, device) else None


class Batches:
    """A stream of batches: `at(turn)` depends on the seed and the turn alone.

    `permutation` (K,) tells which landmarks swap in the mirror; None: nothing is mirrored. Landmarks travel along where
    the crops have them; an unsupervised run never opens them. `resident`: the images of the crops on the GPU.
    """

    def __init__(
        self,
        crops: Crops,
        permutation: Tensor | None,
        size: int,
        seed: int,
        purpose: str,
        device: torch.device,
        resident: Tensor | None = None,
    ) -> None:
        self.crops, self.seed, self.purpose, self.device = crops, seed, purpose, device
        self.order = Order(len(crops.images), size, seed, f"{purpose}/order")
        self.permutation = permutation
        self.resident = resident
        framed = crops.index["framed"].to_numpy(dtype=bool)
        self.primary = None if framed.all() else framed

    def at(self, turn: int) -> Batch:
        """The turn-th batch; of several processes, this one's rows of it."""
        rows = ranks.own(self.order.rows(turn))
        if self.resident is None:
            I = to_tensor(self.crops.images[rows], self.device)
        else:
            I = to_numbers(self.resident[moved(rows, self.device)])
        X = None
        if self.crops.landmarks is not None:
            X = moved(np.asarray(self.crops.landmarks[rows], np.float32), self.device)
        if self.permutation is not None:
            random = generator(self.seed, turn, f"{self.purpose}/flip", self.device)
            flipped = draws.rand(len(rows), generator=random) < 0.5
            I = mirror(I, flipped)
            X = None if X is None else mirror_points(X, flipped, self.permutation)
        primary = None if self.primary is None else moved(self.primary[rows], self.device)
        return Batch(I, X, primary)
