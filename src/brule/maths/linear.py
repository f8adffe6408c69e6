"""2 × 2 matrices, batched, by hand: the library's solvers wait for the GPU, and stop at a singular matrix."""

import torch
from torch import Tensor


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """matrices (B, 2, 2) or (B, K, 2, 2) times column vectors (B, K, 2)."""
    if matrices.dim() == 3:
        matrices = matrices[:, None]
    return (matrices * points[..., None, :]).sum(-1)


def inverse(matrices: Tensor, least: float = 1e-3) -> Tensor:
    """(B, 2, 2) or (B, K, 2, 2); a determinant nearer to zero than `least` is held there, with its sign."""
    a, b, c, d = matrices.flatten(-2).unbind(-1)
    determinant = a * d - b * c
    if least:
        held = torch.where(determinant < 0, -least, least)
        determinant = torch.where(determinant.abs() < least, held, determinant)
    return torch.stack((d, -b, -c, a), dim=-1).view_as(matrices) / determinant[..., None, None]
