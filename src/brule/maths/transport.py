"""W₁, W₂², the plan P, translation T, affine A and the barycenter X_b (the paper, section 4): the one door to POT.

Point sets carry uniform weights. Everything is exact: equal sizes are a linear assignment, unequal ones POT's network
simplex. The plan is detached, and the distances stay differentiable through the matched pairs (envelope theorem).
Matrices are 2 × 2 and inverted by hand: the library's solvers wait for the GPU, and stop at a singular matrix.
"""

from typing import Literal

import numpy as np
import ot
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from brule.maths.precision import full_precision


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """matrices (B, 2, 2) or (B, K, 2, 2) times column vectors (B, K, 2)."""
    if matrices.dim() == 3:
        matrices = matrices[:, None]
    (a, b, c, d), (x, y) = matrices.flatten(-2).unbind(-1), points.unbind(-1)
    return torch.stack((a * x + b * y, c * x + d * y), dim=-1)  # a product over axes of two is ten times as slow


def inverse(matrices: Tensor, least: float = 1e-3) -> Tensor:
    """(B, 2, 2) or (B, K, 2, 2); a determinant nearer to zero than `least` is held there, with its sign."""
    a, b, c, d = matrices.flatten(-2).unbind(-1)
    determinant = a * d - b * c
    if least:
        held = torch.where(determinant < 0, -least, least)
        determinant = torch.where(determinant.abs() < least, held, determinant)
    return torch.stack((d, -b, -c, a), dim=-1).view_as(matrices) / determinant[..., None, None]


Floats = NDArray[np.float64]


@full_precision
def plan(x: Tensor, y: Tensor, power: Literal[1, 2] = 2) -> Tensor:
    """P = argmin Σ_ij P_ij ‖x_i − y_j‖^power with marginals 1/N and 1/M, for every pair of the batch.

    x (B, N, 2), y (B, M, 2) → (B, N, M), detached, on x's device. Raises ValueError where a coordinate is NaN or
    infinite, which POT would accept silently.
    """
    first, second = (points.detach().double().cpu().numpy() for points in (x, y))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("transport: a point set holds NaN or infinite coordinates; no plan exists")
    metric: Literal["euclidean", "sqeuclidean"] = "euclidean" if power == 1 else "sqeuclidean"
    plans = np.stack([_exact(cdist(a, b, metric)) for a, b in zip(first, second, strict=True)])
    return torch.from_numpy(plans).to(device=x.device, dtype=x.dtype)


def _exact(cost: Floats) -> Floats:
    rows, columns = cost.shape
    if rows == columns:
        matching = np.zeros_like(cost)
        matching[linear_sum_assignment(cost)] = 1 / rows
        return matching
    # a rectangular assignment would leave points unmatched, which is another problem
    return np.asarray(ot.emd(np.full(rows, 1 / rows), np.full(columns, 1 / columns), cost), dtype=np.float64)


@full_precision
def wasserstein2(x: Tensor, y: Tensor) -> Tensor:
    """W₂² = min_P Σ_ij P_ij ‖x_i − y_j‖²: x (B, N, 2), y (B, M, 2) → (B,). Differentiable in both; NaN: ValueError."""
    batch, mass, gaps = _pairs(x, y, 2)
    return x.new_zeros(len(x)).index_add(0, batch, mass * gaps.square().sum(-1))


@full_precision
def wasserstein1(x: Tensor, y: Tensor) -> Tensor:
    """W₁ = min_P Σ_ij P_ij ‖x_i − y_j‖: x (B, N, 2), y (B, M, 2) → (B,). Differentiable in both; NaN: ValueError."""
    batch, mass, gaps = _pairs(x, y, 1)
    return x.new_zeros(len(x)).index_add(0, batch, mass * torch.linalg.vector_norm(gaps, dim=-1))


def _pairs(x: Tensor, y: Tensor, power: Literal[1, 2]) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs that exchange mass, at most N + M - 1 an image: their image, their mass, and x_i − y_j (pairs, 2)."""
    optimal = plan(x, y, power)
    batch, i, j = optimal.nonzero(as_tuple=True)
    return batch, optimal[batch, i, j], x[batch, i] - y[batch, j]


@full_precision
def matched(x: Tensor, y: Tensor) -> Tensor:
    """N·P·y, where each point of x goes: x (B, N, 2), y (B, M, 2) → (B, N, 2). For N = M it is y, permuted."""
    return x.shape[1] * plan(x, y) @ y


@full_precision
def translation(x: Tensor, y: Tensor) -> Tensor:
    """T: the difference of the means, y − x. x (B, N, 2), y (B, M, 2) → (B, 2)."""
    return y.mean(1) - x.mean(1)


@full_precision
def affine(
    x: Tensor,
    y: Tensor,
    plan: Tensor | None = None,
    ridge: float = 1e-3,
    kind: Literal["affine", "similarity"] = "affine",
) -> Tensor:
    """A = (XᵀDX + rI)⁻¹ (XᵀPY + rI), D = diag(P1): the row map X·A nearest to Y, both centred on their means.

    x (B, N, 2), y (B, M, 2), plan (B, N, M) | None (index coupling, N = M) → (B, 2, 2). `similarity`: the same problem
    over rotations and scales, without reflection. r = ridge · trace(XᵀDX): collapsed clouds are singular, and the
    ridge draws them to the identity (no deformation), not to zero. A stays in the graph.
    """
    source, target = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    carried = target / x.shape[1] if plan is None else plan @ target
    cross = source.mT @ carried
    spread = source.mT @ (source / x.shape[1])
    trace = spread.diagonal(dim1=1, dim2=2).sum(-1)
    pull = ridge * trace + 1e-12
    if kind == "similarity":
        cosine = (cross[:, 0, 0] + cross[:, 1, 1] + 2 * pull) / (trace + 2 * pull)
        sine = (cross[:, 0, 1] - cross[:, 1, 0]) / (trace + 2 * pull)
        return torch.stack((cosine, sine, -sine, cosine), dim=-1).view(-1, 2, 2)
    eye = pull[:, None, None] * torch.eye(2, device=x.device, dtype=x.dtype)
    return inverse(spread + eye, least=0) @ (cross + eye)


@full_precision
def similarity(x: Tensor, y: Tensor) -> Tensor:
    """x carried onto y by its best similarity (rotation, scale, shift; no reflection), coupled by index.

    x (B, N, 2), y (B, N, 2) → (B, N, 2).
    """
    return (x - x.mean(1, keepdim=True)) @ affine(x, y, ridge=0.0, kind="similarity") + y.mean(1, keepdim=True)


@full_precision
def gaussian(source: Tensor, target: Tensor) -> Tensor:
    """T = S^-½ (S^½ R S^½)^½ S^-½ with S = source, R = target: the optimal map from N(0, S) to N(0, R).

    source, target (n, n) symmetric and not negative → (n, n), symmetric; x ↦ T x is the least movement, in the mean
    square, that gives x the covariance R: T S T = R for a regular S. Directions in which S vanishes, below 1e-8 of its
    largest variance, go to nothing.
    """
    values, vectors = torch.linalg.eigh(source)
    values = values.clamp(min=0)
    known = values > 1e-8 * values.amax()
    root = vectors * values.sqrt() @ vectors.mT
    whiten = vectors * torch.where(known, values, 1.0).rsqrt().where(known, 0.0) @ vectors.mT
    inner, turned = torch.linalg.eigh(root @ target @ root)
    T: Tensor = whiten @ (turned * inner.clamp(min=0).sqrt() @ turned.mT) @ whiten
    return T


def barycenter(shapes: Floats | Tensor, points: int | None = None, iterations: int = 20) -> Tensor:
    """X_b = argmin_X Σ_m W₂²(X, shape_m), the free-support Wasserstein barycenter: shapes (M, K, 2) → (K', 2) float64.

    K' = points, or K where None. The start is the mean shape (resampled along the index where K' ≠ K), since random
    starts reach the same objective but lose the order of the points. Raises ValueError on NaN.
    """
    sets = np.asarray(shapes.detach().cpu() if isinstance(shapes, Tensor) else shapes, dtype=np.float64)
    if not np.isfinite(sets).all():
        raise ValueError("barycenter: a shape holds NaN or infinite coordinates; leave unlabelled shapes out")
    start = _resampled(sets.mean(0), points or sets.shape[1])
    weights = [np.full(sets.shape[1], 1 / sets.shape[1])] * len(sets)
    found = ot.lp.free_support_barycenter(list(sets), weights, start, numItermax=iterations)
    return torch.from_numpy(np.asarray(found, dtype=np.float64))


def _resampled(shape: Floats, points: int) -> Floats:
    if points == len(shape):
        return shape
    place = np.linspace(0, len(shape) - 1, points)
    return np.stack([np.interp(place, np.arange(len(shape)), column) for column in shape.T], axis=1)
