"""S and S_o: an image, or noise, → the style that modulates G (the paper, section 3)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from brule.networks.layers import EqualConv, EqualLinear, channels, channels_last, pixel_norm

TRUNCATION = 0.7
"""Styles of samples are drawn towards their mean, s̄ + 0.7 (s − s̄), as StyleGAN's own samples are."""
_MANY = 256


class NoiseToStyle(nn.Module):
    """S_o: z ~ N(0, 1) → style, a series of linear layers with leaky ReLU (StyleGAN2's mapping network)."""

    def __init__(
        self,
        latent: int,  # numbers in z
        style_size: int,
        depth: int,  # layers
    ) -> None:
        super().__init__()
        self.latent = latent
        sizes = [latent] + [style_size] * depth
        # A hundredth of the rate, as in StyleGAN2: at the full one the mapping outruns the synthesis it feeds.
        steps = (EqualLinear(inputs, outputs, activate=True, rate=0.01) for inputs, outputs in pairwise(sizes))
        self.layers = nn.Sequential(*steps)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) → (B, style_size)."""
        style: Tensor = self.layers(pixel_norm(z))
        return style.to(z.dtype)

    @torch.no_grad()
    def truncated(self, count: int, truncation: float = TRUNCATION, seed: int = 1) -> Tensor:
        """The styles of samples, (count, style_size): always of a seed's same noise, and the first whatever `count`.

        truncation: the share of s − s̄ that stays; at 1 the styles are as they come, at 0 they are all the mean s̄.
        """
        generator = torch.Generator().manual_seed(seed)
        z = [torch.randn(n, self.latent, generator=generator) for n in (_MANY, max(0, count - _MANY))]
        styles: Tensor = self(torch.cat(z).to(next(self.parameters()).device))
        return torch.lerp(styles[:_MANY].mean(0), styles[:count], truncation)


class StyleEncoder(nn.Module):
    """S: image → style, a plain CNN down to 4×4 pixels. Their mean forgets where things are: style has no geometry."""

    def __init__(
        self,
        image_size: int,  # pixels
        style_size: int,
        width: int,  # channels at half of image_size; doubled at every halving, up to four times this
    ) -> None:
        super().__init__()
        counts = list(reversed(channels(image_size // 2, width, 4 * width).values()))  # from image_size/2 down to 4
        self.stem = EqualConv(3, width, 3, resample="down")
        steps = (EqualConv(inputs, outputs, 3, resample="down") for inputs, outputs in pairwise(counts))
        self.body = nn.Sequential(*steps)
        self.head = EqualLinear(counts[-1], style_size)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [−1, 1] → (B, style_size)."""
        x: Tensor = self.body(self.stem(channels_last(images)))  # (B, 4·width, 4, 4)
        style: Tensor = self.head(x.mean((2, 3)))
        return style.to(images.dtype)
