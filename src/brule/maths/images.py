"""Images as the disk has them (bytes, channels last), as the networks see them (numbers in [-1, 1]), and mirrored."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def to_tensor(images: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 (B, S, S, 3) → float32 (B, 3, S, S) in [-1, 1], channels last in memory."""
    return to_numbers(moved(images, device))


def to_numbers(images: Tensor) -> Tensor:
    """The same of bytes that are on the device already."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def moved(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy of `array` on the device. On a GPU nothing waits for it."""
    tensor = torch.from_numpy(np.array(array))
    if device.type == "cuda":  # from page-locked memory the copy runs beside what the GPU is still computing
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_uint8(images: Tensor) -> npt.NDArray[np.uint8]:
    """The inverse: (B, 3, S, S), cut to [-1, 1] → uint8 (B, S, S, 3), each to the nearest level."""
    levels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array: npt.NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().numpy()
    return array


def shrunk(images: Tensor, size: int) -> Tensor:
    """Images (B, C, S, S) → (B, C, size, size), each pixel the mean of those that it replaces; size divides S."""
    return avg_pool2d(images, images.shape[-1] // size)


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
