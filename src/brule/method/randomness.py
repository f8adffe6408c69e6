"""Every random number of training is a function of (seed, iteration, purpose): nothing to save, resuming is exact."""

import hashlib

import numpy as np
import torch


def derive(seed: int, iteration: int, purpose: str) -> int:
    """A 63-bit seed, unrelated for any two different arguments."""
    digest = hashlib.sha256(f"{seed}/{iteration}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, iteration: int, purpose: str, device: torch.device) -> torch.Generator:
    """A fresh torch generator on `device`."""
    return torch.Generator(device).manual_seed(derive(seed, iteration, purpose))


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
