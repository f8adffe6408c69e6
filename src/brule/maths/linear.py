"""2 × 2 matrices, batched, by hand: the library's solvers wait for the GPU."""

import torch
from torch import Tensor


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """matrices (B, 2, 2) or (B, K, 2, 2) times column vectors (B, K, 2)."""
    if matrices.dim() == 3:
        matrices = matrices[:, None]
    return (matrices * points[..., None, :]).sum(-1)


def inverse(matrices: Tensor) -> Tensor:
    """(B, 2, 2) or (B, K, 2, 2); a determinant nearer to zero than 1e-3 is held there, with its sign."""
    a, b, c, d = matrices.flatten(-2).unbind(-1)
    determinant = a * d - b * c
    determinant = torch.where(determinant.abs() < 1e-3, torch.where(determinant < 0, -1e-3, 1e-3), determinant)
    return torch.stack((d, -b, -c, a), dim=-1).view_as(matrices) / determinant[..., None, None]
