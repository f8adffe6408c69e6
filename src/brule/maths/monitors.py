"""What a landmark encoder answers on images and on deformations of them, from which monitors of collapse are read."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brule.maths import heatmaps, metrics
from brule.maths.family import PAPER
from brule.maths.warps import Warp

SEED = 20200612
"""One for all: the equivariance of two encoders is read on the same deformations."""


@torch.no_grad()
def probe(
    logits: Callable[[Tensor], Tensor],
    images: Iterable[Tensor],
    X_b: NDArray[np.float64],
    pair: tuple[int, int] | None,
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """(the landmarks found (N, K, 2), the collapse monitors) of an encoder on batches of images.

    logits: images (B, 3, S, S) → (B, K, D, D), the encoder; images: its batches; X_b (K, 2). Equivariance compares
    X(gI) with g X(I) under the paper's family of g.
    """
    columns: list[list[NDArray[np.float64]]] = [[], [], [], []]
    generator: torch.Generator | None = None
    for I in images:
        generator = generator or torch.Generator(I.device).manual_seed(SEED)
        log_L = heatmaps.log_probabilities(logits(I))
        X = heatmaps.coordinates(log_L.exp())
        g = Warp.sample(PAPER, len(I), I.shape[-1], generator)
        X_g = heatmaps.coordinates(heatmaps.log_probabilities(logits(g.images(I))).exp())
        for column, values in zip(columns, (X, X_g, g.points(X), heatmaps.entropy(log_L)), strict=True):
            column.append(values.double().cpu().numpy())
    if generator is None:
        return np.empty((0, *X_b.shape)), {}
    found, warped, expected, entropies = map(np.concatenate, columns)
    return found, metrics.monitors(found, X_b, pair, warped=warped, expected=expected, entropies=entropies)
