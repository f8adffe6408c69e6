"""E: image → one heatmap of logits per landmark, a stacked hourglass (the paper, section 3, "Landmark Encoder")."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brule.networks.layers import channels_last, halvings

GROUP = 16
"""Channels of a normalisation group. 16 fill a vector register; other sizes are slower in bfloat16."""
SMALLEST = 2
"""Pixels at which an hourglass stops halving, however deep it was asked to be."""


class Normalise(nn.GroupNorm):
    """GroupNorm, then ReLU. (BatchNorm would mix the statistics of real, fake and deformed batches.)"""

    def __init__(self, channels: int) -> None:
        super().__init__(channels // GROUP if channels % GROUP == 0 else 1, channels)
        self.fused: Callable[..., Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None:
            return self.fused(x, self.weight, self.bias, self.eps)
        return F.relu(super().forward(x), inplace=True)


def fuse(*networks: nn.Module) -> None:
    """From now on they normalise by `fused.norm_relu`, for training on a GPU. Where Triton fails torch's own stays."""
    try:
        from brule.networks.fused import CHANNELS, norm_relu

        _try(norm_relu, 3 * CHANNELS, next(networks[0].parameters()).device)
    except Exception as error:  # Triton is missing, finds no C compiler, or does not know this GPU
        warnings.warn(f"the encoder's normalisations stay torch's own, which are slower: {error}", stacklevel=2)
        return
    for network in networks:
        for module in network.modules():
            if isinstance(module, Normalise) and module.num_channels == CHANNELS * module.num_groups:
                module.fused = norm_relu


def _try(norm_relu: Callable[..., Tensor], channels: int, device: torch.device) -> None:
    """Forward and back, so that every kernel is compiled and has run."""
    with torch.enable_grad():
        x = torch.ones(2, channels, 4, 4, dtype=torch.bfloat16, device=device, requires_grad=True)
        weight, bias = (torch.ones(channels, device=device, requires_grad=True) for _ in range(2))
        norm_relu(x, weight, bias, 1e-5).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    x.grad.sum().item()  # what fails on the GPU is told when the CPU waits for it


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution that keeps the size (or divides it by the stride), He-initialised, without bias: a norm follows."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


class Residual(nn.Module):
    """x + conv(norm(conv(norm(x)))), both 3×3; x is projected by 1×1 where the channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Normalise(inputs), conv(inputs, outputs, 3), Normalise(outputs), conv(outputs, outputs, 3)
        )
        self.skip = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, r, r) → (B, outputs, r, r)."""
        y: Tensor = self.body(x) + self.skip(x)
        return y


class Hourglass(nn.Module):
    """(B, inputs, r, r) → (B, counts[0], r, r), having looked at r, r/2, …, r/2^(len(counts) − 1).

    Each level is a residual block, whose result waits as skip connection while an hourglass one level smaller looks at
    its halved copy (maximum of 2×2); the answer is enlarged, added to the skip, and goes through a second block.
    """

    def __init__(self, inputs: int, counts: list[int]) -> None:  # channels at r, r/2, …
        super().__init__()
        here, *below = counts
        self.enter = Residual(inputs, here)
        self.rest = nn.ModuleDict()
        if below:
            self.rest = nn.ModuleDict(
                {"below": Hourglass(here, below), "back": conv(below[0], here, 1), "leave": Residual(here, here)}
            )

    def forward(self, x: Tensor) -> Tensor:
        skip: Tensor = self.enter(x)
        if not self.rest:
            return skip
        low = self.rest["back"](self.rest["below"](F.max_pool2d(skip, 2)))
        y: Tensor = self.rest["leave"](skip + F.interpolate(low, scale_factor=2.0, mode="nearest"))
        return y


class LandmarkEncoder(nn.Module):
    """L(I): logits of the landmarks' heatmaps; a softmax over the pixels of each channel makes them probabilities."""

    def __init__(
        self,
        landmarks: int,
        image_size: int,  # pixels
        map_size: int,  # pixels, divides image_size
        width: int = 48,  # channels at map_size; multiples of 48 are fastest
        stacks: int = 1,  # hourglasses, each with a head of its own (intermediate supervision)
        depth: int = 3,  # halvings inside an hourglass, from map_size on; they stop at 2 pixels
    ) -> None:
        super().__init__()
        # Two thirds more channels per halving put the parameters where pixels are few: capacity that costs little time.
        levels = min(depth, (map_size // SMALLEST).bit_length() - 1)
        counts = [width * (3 + 2 * level) // 3 for level in range(levels + 1)]
        self.stem = _stem(halvings(image_size, map_size), width)
        self.hourglasses = nn.ModuleList(Hourglass(width, counts) for _ in range(stacks))
        self.norms = nn.ModuleList(Normalise(width) for _ in range(stacks))
        self.heads = nn.ModuleList(_head(width, landmarks) for _ in range(stacks))
        self.again = nn.ModuleList(conv(landmarks, width, 1) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) in [−1, 1] → logits (B, K, D, D), one per stack; the last is the answer."""
        x = self.stem(channels_last(images))  # (B, width, D, D)
        answers: list[Tensor] = []
        for i, (hourglass, norm, head) in enumerate(zip(self.hourglasses, self.norms, self.heads, strict=True)):
            y = hourglass(x)
            logits = head(norm(y))
            answers.append(logits.contiguous())
            if i < len(self.again):
                x = y + self.again[i](logits)
        return answers


def _stem(halved: int, width: int) -> nn.Sequential:
    """(B, 3, S, S) → (B, width, S/2^halved, S/2^halved): halves at once, and stays thin while the image is large."""
    counts = [max(GROUP, width >> left) for left in range(halved - 1, 0, -1)] + [width]
    layers: list[nn.Module] = [conv(3, counts[0], 5, 2 if halved else 1)]
    for inputs, outputs in pairwise(counts):
        layers += [Normalise(inputs), conv(inputs, outputs, 3, 2)]
    return nn.Sequential(*layers)


def _head(width: int, landmarks: int) -> nn.Conv2d:
    """1×1 to logits of spread about 0.1: maps start near-uniform, yet the gradient already reaches all layers."""
    head = conv(width, landmarks, 1)  # without bias: a softmax over the pixels would not notice it
    nn.init.normal_(head.weight, std=0.1 / sqrt(width / 2))
    return head
