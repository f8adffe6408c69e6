"""D: is this a real image of these landmarks? (The paper, section 3, "Discriminator", and figure 2.)"""

from itertools import pairwise
from math import sqrt

import torch.nn.functional as F
from torch import Tensor, nn

from brule.networks.layers import EqualConv, EqualLinear, MinibatchDeviation, channels, channels_last, halvings, leaky


class DownBlock(nn.Module):
    """Residual block of StyleGAN2's D: (B, inputs, r, r) → (B, outputs, r/2, r/2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = sqrt(0.5)  # the sum of two unit variances keeps unit variance
        self.first = EqualConv(inputs, inputs, 3)
        self.second = EqualConv(inputs, outputs, 3, resample="down", gain=half)
        self.skip = EqualConv(inputs, outputs, 1, activate=False, bias=False, gain=half)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x)) + self.skip(F.avg_pool2d(x, 2))
        return y


class Discriminator(nn.Module):
    """D(I, L) → logit: residual blocks down to the heatmaps' size, where L joins; further down to 4; logit."""

    def __init__(
        self,
        landmarks: int,
        image_size: int,  # pixels
        map_size: int,  # pixels, divides image_size
        width: int,  # channels at image_size; doubled at every halving …
        max_width: int,  # … up to this
    ) -> None:
        super().__init__()
        before = halvings(image_size, map_size)
        counts = list(reversed(channels(image_size, width, max_width).values()))  # from image_size down to 4
        blocks = [DownBlock(inputs, outputs) for inputs, outputs in pairwise(counts)]
        self.from_rgb = EqualConv(3, counts[0], 1)
        self.before = nn.Sequential(*blocks[:before])
        # Concatenating C and K channels and projecting them back to C by 1×1 is the sum of two projections.
        joint = counts[before]
        self.join_image = EqualConv(joint, joint, 1, activate=False, gain=sqrt(0.5))
        # One landmark in K is on at a pixel, not all of them: without √K their signal would vanish beside the image's.
        self.join_maps = EqualConv(landmarks, joint, 1, activate=False, bias=False, gain=sqrt(landmarks))
        self.after = nn.Sequential(*blocks[before:])
        last = counts[-1]
        self.final = nn.Sequential(MinibatchDeviation(), EqualConv(last + 1, last, 3))
        self.head = nn.Sequential(EqualLinear(last * 16, last, activate=True), EqualLinear(last, 1))

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """images: (B, 3, S, S) in [−1, 1]; condition: (B, K, D, D), peak 1; returns logits (B,), > 0 for real."""
        x = self.before(self.from_rgb(channels_last(images)))  # (B, C, D, D)
        x = leaky(self.join_image(x) + self.join_maps(channels_last(condition)))
        x = self.final(self.after(x))  # (B, C, 4, 4)
        logits: Tensor = self.head(x.flatten(1))
        return logits.squeeze(1).to(images.dtype)
