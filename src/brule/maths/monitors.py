"""The monitors of collapse (the paper, section 5): what they are, when they fire, and how they are read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brule.maths import heatmaps, transport
from brule.maths.family import PAPER
from brule.maths.metrics import Points, as_array, as_tensor, fitted, normaliser
from brule.maths.warps import Warp

SEED = 20200612
"""One for all: on one kind of device the equivariance of two encoders is read on the same deformations."""
BATCH = 64
"""Images of a batch, for whoever wants to read the same: the deformations are drawn batch by batch."""


@dataclass(frozen=True)
class Limit:
    """When a monitor fires, what that means, and the parameter to look at."""

    bound: float
    above: bool
    meaning: str
    parameter: str
    relative: bool = False
    """`bound` is a share of what the healthy shapes have, which depends on the object."""


LIMITS = {
    "spread": Limit(0.7, False, "the predicted shapes have shrunk", "train.calibrate, loss.c5"),
    "nearest": Limit(0.5, False, "landmarks fall onto each other", "loss.c5", relative=True),
    "residual": Limit(
        0.2, False, "every image gets the barycenter, moved but not bent", "loss.c13, loss.c6", relative=True
    ),
    "equivariance": Limit(8e-2, True, "landmarks do not follow the image under g", "loss.c6, train.gan_warp"),
    "entropy": Limit(5.0, True, "heatmaps stay spread out", "loss.c7"),
    "agreement": Limit(0.8, False, "channels no longer stand for their own landmarks", "loss.coupling"),
    "determinant": Limit(0.0, False, "shapes are mirrored or flattened", "loss.alignment, augment.flip"),
}


def values(
    points: Points,
    barycenter: Points,
    normaliser_pair: tuple[int, int] | None,
    *,
    warped: Points | None = None,
    expected: Points | None = None,
    entropies: Points | None = None,
) -> dict[str, float]:
    """What tells a collapse: predictions points (N, K, 2) against X_b (K, 2); lengths over the normaliser of X_b.

    spread: rms radius over that of X_b. nearest: distance to the nearest other landmark. residual (K > 3): rms of what
    the best affine map of X_b leaves. agreement: share of channels whose most frequent match in X_b, under exact
    transport of the centred clouds, is their own. determinant: median of det A, X_b → X. Where given, equivariance:
    warped = X(gI) from expected = g X(I), both (N, K, 2); entropy: mean of entropies (N, K), nats.
    """
    found, shape = as_tensor(points), as_tensor(barycenter)
    unit = float(normaliser(shape, normaliser_pair))
    carried, maps = fitted(shape, found)
    centred, model = found - found.mean(1, keepdim=True), shape - shape.mean(0)
    others = torch.cdist(found, found) + torch.diag(torch.full((len(shape),), torch.inf, dtype=torch.float64))
    matches = transport.plan(centred, model.expand_as(found)).sum(0).argmax(1)
    result = {
        "spread": float(_radius(centred).mean() / _radius(model)),
        "nearest": float(others.amin(-1).mean()) / unit,
        "agreement": float((matches == torch.arange(len(shape))).double().mean()),
        "determinant": float(torch.linalg.det(maps).median()),
    }
    if len(shape) > 3:  # fewer points follow an affine map exactly
        result["residual"] = float((found - carried).square().sum(-1).mean().sqrt()) / unit
    if warped is not None and expected is not None:
        result["equivariance"] = float(np.linalg.norm(as_array(warped) - as_array(expected), axis=-1).mean()) / unit
    if entropies is not None:
        result["entropy"] = float(as_array(entropies).mean())
    return result


def _radius(centred: torch.Tensor) -> torch.Tensor:
    return centred.square().sum(-1).mean(-1).sqrt()


def bounds(healthy: dict[str, float]) -> dict[str, float]:
    """Each monitor's limit. healthy: the monitors of true shapes (the unpaired ones), by which some are judged."""
    return {name: limit.bound * (healthy.get(name, 0.0) if limit.relative else 1) for name, limit in LIMITS.items()}


def alarms(monitors: dict[str, float], healthy: dict[str, float]) -> list[str]:
    """One sentence for each monitor beyond its limit (NaN counts): its value, its limit, the parameter to look at."""
    sentences = []
    for name, bound in bounds(healthy).items():
        limit, value = LIMITS[name], monitors.get(name)
        if value is None or (value <= bound if limit.above else value >= bound):
            continue
        side = "above" if limit.above else "below"
        sentences.append(f"{name} is {value:.3g}, {side} {bound:.3g}: {limit.meaning}; look at {limit.parameter}")
    return sentences


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
        for column, rows in zip(columns, (X, X_g, g.points(X), heatmaps.entropy(log_L)), strict=True):
            column.append(rows.double().cpu().numpy())
    if generator is None:
        return np.empty((0, *X_b.shape)), {}
    found, warped, expected, entropies = map(np.concatenate, columns)
    return found, values(found, X_b, pair, warped=warped, expected=expected, entropies=entropies)
