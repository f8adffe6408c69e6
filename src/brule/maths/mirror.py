"""The left-right mirror, of images and of points, per image of a batch."""

import torch
from torch import Tensor


def mirror(images: Tensor, flip_mask: Tensor) -> Tensor:
    """Images (B, C, S, S), mirrored where flip_mask (B,) bool is set."""
    return torch.where(flip_mask[:, None, None, None], images.flip(-1), images)


def mirror_points(points: Tensor, flip_mask: Tensor, permutation: Tensor) -> Tensor:
    """Points (B, K, 2), mirrored where flip_mask (B,) bool is set: x → 1 − x and every landmark takes its twin's name.

    permutation (K,) long: permutation[k] is what landmark k becomes in a mirror (the left eye's corner, the right's).
    """
    return torch.where(flip_mask[:, None, None], mirror_all(points, permutation), points)


def mirror_all(points: Tensor, permutation: Tensor) -> Tensor:
    """The mirror image of every row of points (B, K, 2)."""
    twins = points[:, permutation]
    return torch.stack((1 - twins[..., 0], twins[..., 1]), dim=-1)
