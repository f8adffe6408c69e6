"""Scores, their floor and oracles, and the collapse monitors (the paper, section 5). Points (N, K, 2) in, float64 out.

Every score is in percent of the normaliser (by 300-W's custom the distance of the outer eye corners) and never halved.
NumPy arrays and tensors are both taken; arrays come back.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from brule.errors import BruleError
from brule.maths import transport

Floats = NDArray[np.float64]
Points = ArrayLike | torch.Tensor
"""Coordinates (N, K, 2), or (K, 2) for one shape."""


def _array(values: Points) -> Floats:
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype=np.float64)


def _tensor(values: Points) -> torch.Tensor:
    return torch.from_numpy(_array(values))


def normaliser(truth: Points, pair: tuple[int, int] | None) -> Floats:
    """(N,): the distance of two landmarks of truth (N, K, 2), or the diagonal of the landmark box where pair is None.

    Raises BruleError where it is zero, since every score is divided by it.
    """
    shapes = _array(truth)
    span = np.ptp(shapes, axis=-2) if pair is None else shapes[..., pair[0], :] - shapes[..., pair[1], :]
    length = np.asarray(np.linalg.norm(span, axis=-1), dtype=np.float64)
    if (length == 0).any():
        where = "all landmarks" if pair is None else f"landmarks {pair[0]} and {pair[1]}"
        raise BruleError(
            f"data.normaliser: {where} coincide in {np.count_nonzero(length == 0)} shapes; "
            "name two landmarks that lie apart everywhere"
        )
    return length


def nme(prediction: Points, truth: Points, normaliser: Points) -> Floats:
    """Normalised mean error, mean_k ‖p_k − t_k‖ / normaliser: (N, K, 2) twice, (N,) → (N,) percent."""
    distance = np.linalg.norm(_array(prediction) - _array(truth), axis=-1)
    return np.asarray(100 * distance.mean(-1) / _array(normaliser), dtype=np.float64)


def w1_score(prediction: Points, truth: Points, normaliser: Points) -> Floats:
    """W₁ between the two point sets over the normaliser, names ignored: (N, K, 2), (N, M, 2), (N,) → (N,) percent.

    Raises ValueError on NaN.
    """
    distance = transport.wasserstein1(_tensor(prediction), _tensor(truth)).numpy()
    return np.asarray(100 * distance / _array(normaliser), dtype=np.float64)


def ced(errors: Points, thresholds: Points) -> Floats:
    """Cumulative error distribution: the share of errors (N,) ≤ each of thresholds (T,), both in percent → (T,)."""
    return np.asarray((_array(errors)[:, None] <= _array(thresholds)).mean(0), dtype=np.float64)


def auc(errors: Points, limit: float = 8.0) -> float:
    """Area under the CED from 0 to `limit` percent over its width, in [0, 1], exact: mean of max(0, 1 − e/limit)."""
    finite = np.nan_to_num(_array(errors), nan=np.inf)
    return float(np.clip(1 - finite / limit, 0, None).mean())


def failure_rate(errors: Points, limit: float) -> float:
    """Share of images in [0, 1] whose error exceeds `limit` percent; a NaN is a failure."""
    return float(1 - (_array(errors) <= limit).mean())


def floor(truth: Points, barycenter: Points, normaliser: Points) -> Floats:
    """NME (N,) of X_b (K, 2) answered for every image: who does not beat it has learned nothing."""
    return nme(_array(barycenter)[None], truth, normaliser)


def oracle_similarity(truth: Points, barycenter: Points, normaliser: Points) -> Floats:
    """NME (N,) of X_b (K, 2) carried onto each truth (N, K, 2) by its best similarity."""
    target = _tensor(truth)
    return nme(transport.similarity(_tensor(barycenter).expand_as(target), target), target, normaliser)


def oracle_affine(truth: Points, barycenter: Points, normaliser: Points) -> Floats:
    """NME (N,) of X_b (K, 2) carried onto each truth (N, K, 2) by its best affine map (least squares)."""
    target = _tensor(truth)
    return nme(_fitted(_tensor(barycenter), target)[0], target, normaliser)


def _fitted(shape: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """shape (K, 2) carried by its best affine map onto each target (N, K, 2), and those maps (N, 2, 2)."""
    copies = shape.expand_as(target)
    maps = transport.affine(copies, target, ridge=0.0)
    return (copies - copies.mean(1, keepdim=True)) @ maps + target.mean(1, keepdim=True), maps


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


def monitors(
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
    found, shape = _tensor(points), _tensor(barycenter)
    unit = float(normaliser(shape, normaliser_pair))
    fitted, maps = _fitted(shape, found)
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
        result["residual"] = float((found - fitted).square().sum(-1).mean().sqrt()) / unit
    if warped is not None and expected is not None:
        result["equivariance"] = float(np.linalg.norm(_array(warped) - _array(expected), axis=-1).mean()) / unit
    if entropies is not None:
        result["entropy"] = float(_array(entropies).mean())
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
