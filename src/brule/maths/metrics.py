"""Scores, their floor and oracles (the paper, section 5). Points (N, K, 2) in, float64 out.

Every score is in percent of the normaliser (by 300-W's custom the distance of the outer eye corners) and never halved.
NumPy arrays and tensors are both taken; arrays come back.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from brule.errors import BruleError
from brule.maths import transport

Floats = NDArray[np.float64]
Points = ArrayLike | torch.Tensor
"""Coordinates (N, K, 2), or (K, 2) for one shape."""


def as_array(values: Points) -> Floats:
    """In float64, on the CPU."""
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype=np.float64)


def as_tensor(values: Points) -> torch.Tensor:
    """In float64, on the CPU."""
    return torch.from_numpy(as_array(values))


def normaliser(truth: Points, pair: tuple[int, int] | None) -> Floats:
    """(N,): the distance of two landmarks of truth (N, K, 2), or the diagonal of the landmark box where pair is None.

    Raises BruleError where it is zero, since every score is divided by it.
    """
    shapes = as_array(truth)
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
    distance = np.linalg.norm(as_array(prediction) - as_array(truth), axis=-1)
    return np.asarray(100 * distance.mean(-1) / as_array(normaliser), dtype=np.float64)


def w1_score(prediction: Points, truth: Points, normaliser: Points) -> Floats:
    """W₁ between the two point sets over the normaliser, names ignored: (N, K, 2), (N, M, 2), (N,) → (N,) percent.

    Raises ValueError on NaN.
    """
    distance = transport.wasserstein1(as_tensor(prediction), as_tensor(truth)).numpy()
    return np.asarray(100 * distance / as_array(normaliser), dtype=np.float64)


def ced(errors: Points, thresholds: Points) -> Floats:
    """Cumulative error distribution: the share of errors (N,) ≤ each of thresholds (T,), both in percent → (T,)."""
    return np.asarray((as_array(errors)[:, None] <= as_array(thresholds)).mean(0), dtype=np.float64)


def auc(errors: Points, limit: float = 8.0) -> float:
    """Area under the CED from 0 to `limit` percent over its width, in [0, 1], exact: mean of max(0, 1 − e/limit)."""
    finite = np.nan_to_num(as_array(errors), nan=np.inf)
    return float(np.clip(1 - finite / limit, 0, None).mean())


def failure_rate(errors: Points, limit: float) -> float:
    """Share of images in [0, 1] whose error exceeds `limit` percent; a NaN is a failure."""
    return float(1 - (as_array(errors) <= limit).mean())


def auroc(above: Points, below: Points) -> float:
    """How often one of `above` (N,) exceeds one of `below` (M,), in [0, 1]; a tie counts half. Mann and Whitney's U."""
    high, low = as_array(above), as_array(below)
    ranks = rankdata(np.concatenate((high, low)))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def floor(truth: Points, barycenter: Points, normaliser: Points) -> Floats:
    """NME (N,) of X_b (K, 2) answered for every image: who does not beat it has learned nothing."""
    return nme(as_array(barycenter)[None], truth, normaliser)


def oracle_similarity(truth: Points, barycenter: Points, normaliser: Points) -> Floats:
    """NME (N,) of X_b (K, 2) carried onto each truth (N, K, 2) by its best similarity."""
    target = as_tensor(truth)
    return nme(transport.similarity(as_tensor(barycenter).expand_as(target), target), target, normaliser)


def oracle_affine(truth: Points, barycenter: Points, normaliser: Points) -> Floats:
    """NME (N,) of X_b (K, 2) carried onto each truth (N, K, 2) by its best affine map (least squares)."""
    target = as_tensor(truth)
    return nme(fitted(as_tensor(barycenter), target)[0], target, normaliser)


def fitted(shape: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """shape (K, 2) carried by its best affine map onto each target (N, K, 2), and those maps (N, 2, 2)."""
    copies = shape.expand_as(target)
    maps = transport.affine(copies, target, ridge=0.0)
    return (copies - copies.mean(1, keepdim=True)) @ maps + target.mean(1, keepdim=True), maps
