"""G: heatmaps of landmarks and a style → an image (the paper, section 3, "Generator", and figure 2)."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brule.networks.layers import EqualConv, ModulatedConv, ToRGB, channels, channels_last, halvings


class HeatmapPyramid(nn.Module):
    """Heatmaps → features at 4, 8, …, image_size: what stands in the place of StyleGAN2's constant input.

    Heatmaps are first projected to few channels at their own size. Area pooling and bilinear interpolation are linear
    in each channel, so this gives what projecting afterwards would, at a fraction of the cost. A level above the
    heatmaps' size is convolved before it is interpolated: there is no finer detail to find.
    """

    def __init__(
        self,
        landmarks: int,
        map_size: int,  # pixels
        features: dict[int, int],  # resolution in pixels → channels of its level
    ) -> None:
        super().__init__()
        self.map_size = map_size
        self.sizes = sorted(features)
        common = max(features.values())
        # One landmark in K is on at a pixel, not all of them: the gain gives a lone landmark's peak unit variance.
        self.project = EqualConv(landmarks, common, 1, activate=False, gain=sqrt(landmarks))
        self.levels = nn.ModuleList(EqualConv(common, features[size], 3) for size in self.sizes)

    def forward(self, condition: Tensor) -> dict[int, Tensor]:
        """(B, K, D, D), peak 1 → {resolution r: (B, features[r], r, r)}."""
        common = self.project(channels_last(condition))  # (B, common, D, D)
        at: dict[int, Tensor] = {}
        pooled = common
        for size, level in reversed(list(zip(self.sizes, self.levels, strict=True))):
            if size > self.map_size:
                at[size] = F.interpolate(level(common), size=(size, size), mode="bilinear", align_corners=False)
                continue
            pooled = pooled if size == self.map_size else F.avg_pool2d(pooled, 2)
            at[size] = level(pooled)
        return at


class Generator(nn.Module):
    """G(L, style) → I: StyleGAN2's synthesis with neither constant input nor noise inputs, conditioned on heatmaps.

    Resolutions 4 … image_size. Each level doubles the size by a modulated transposed convolution with blur, appends the
    pyramid's features of its size, convolves again, and adds its RGB image to the enlarged sum of those below.
    """

    def __init__(
        self,
        landmarks: int,
        image_size: int,  # pixels
        map_size: int,  # pixels, divides image_size
        style_size: int,
        width: int,  # channels at image_size; doubled at every halving …
        max_width: int,  # … up to this
    ) -> None:
        super().__init__()
        halvings(image_size, map_size)
        self.width_at = channels(image_size, width, max_width)
        self.sizes = sorted(self.width_at)
        features = {size: max(4, count // 3) for size, count in self.width_at.items()}
        self.pyramid = HeatmapPyramid(landmarks, map_size, features)
        self.ups, self.convs, self.to_rgb = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = 0
        for size, count in self.width_at.items():
            if inputs:
                self.ups.append(ModulatedConv(inputs, count, style_size, resample="up"))
            self.convs.append(ModulatedConv(features[size] + (count if inputs else 0), count, style_size))
            self.to_rgb.append(ToRGB(count, style_size))
            inputs = count

    @property
    def layers(self) -> int:
        """Styles of an image: one per modulated convolution, one for the last RGB; other RGBs share the next one's."""
        return 2 * len(self.sizes)

    def forward(self, condition: Tensor, style: Tensor) -> Tensor:
        """condition: (B, K, D, D), peak 1; style: (B, style_size), or (B, layers, style_size); returns (B, 3, S, S)."""
        w = style[:, None].expand(-1, self.layers, -1) if style.dim() == 2 else style
        if w.shape[1] != self.layers:
            raise ValueError(f"style has {w.shape[1]} layers; this generator takes {self.layers}")
        at = self.pyramid(condition)
        x: Tensor = self.convs[0](at[4], w[:, 0])  # (B, C, 4, 4)
        rgb: Tensor = self.to_rgb[0](x, w[:, 1])  # (B, 3, 4, 4), float32: the sum of images is not rounded
        for i, size in enumerate(self.sizes[1:], start=1):
            x = self.ups[i - 1](x, w[:, 2 * i - 1])  # (B, C, r, r)
            x = self.convs[i](torch.cat([x, at[size].to(x.dtype)], 1), w[:, 2 * i])
            rgb = F.interpolate(rgb, scale_factor=2.0, mode="bilinear", align_corners=False)
            rgb = rgb + self.to_rgb[i](x, w[:, 2 * i + 1])
        return rgb.contiguous()
