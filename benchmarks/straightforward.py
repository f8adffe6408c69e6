"""The same training step, put together the way one would at first: what `brule`'s own parts are measured against.

Each function stands in for the one of `brule` that `pieces.py` names beside it, takes the same arguments, and gives the
same numbers (the layers, R_g, R_b) or the same kind of picture (the augmentation, which draws its own random numbers).
"""

from functools import cache
from math import pi, sqrt
from typing import cast

import kornia.augmentation as K
import ot
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import get_tps_transform, warp_image_tps, warp_points_tps
from torch import Generator, Tensor, nn

from brule.maths.family import PAPER, Family
from brule.maths.heatmaps import PAPER_UNIT, centres
from brule.method.losses import BarycenterTerms
from brule.networks.layers import ModulatedConv, Resample, ToRGB

# ------------------------------------------------------------------------------------------------------------- networks


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, resample: Resample) -> Tensor:
    """Convolution and blur as two passes: the blurred change of resolution is a pass over the larger image."""
    if resample == "up":
        y = F.conv_transpose2d(x, weight.flip(2, 3).transpose(0, 1), stride=2)
        y = 4 * F.avg_pool2d(y, 2, stride=1)
        return y if bias is None else y + bias[:, None, None]
    y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    return F.avg_pool2d(y, 2) if resample == "down" else y


def modulated(self: ModulatedConv, x: Tensor, style: Tensor) -> Tensor:
    """Every image's own demodulated weights, in one grouped convolution of B groups."""
    w = self.weight[None] * self.affine(style)[:, None, :, None, None]
    w = w * (w.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()  # (B, O, I, 3, 3)
    y = grouped(x, w, self.resample) + self.bias[:, None, None]
    return F.leaky_relu(y, 0.2) * sqrt(2)


def to_rgb(self: ToRGB, x: Tensor, style: Tensor) -> Tensor:
    """Modulated 1×1 convolution, grouped as well."""
    s = self.affine(style) / sqrt(self.weight.shape[0])
    w = s[:, None, :] * self.weight.T  # (B, 3, I)
    return grouped(x, w[..., None, None], "none") + self.bias[:, None, None]


def grouped(x: Tensor, w: Tensor, resample: Resample) -> Tensor:
    """x (B, I, H, W), w (B, O, I, k, k) → (B, O, H', W')."""
    batch, outputs, inputs, side, _ = w.shape
    x = x.reshape(1, batch * inputs, *x.shape[2:])
    if resample == "up":
        kernels = w.flip(3, 4).transpose(1, 2).reshape(batch * inputs, outputs, side, side)
        y = 4 * F.avg_pool2d(F.conv_transpose2d(x, kernels, stride=2, groups=batch), 2, stride=1)
    else:
        y = F.conv2d(x, w.reshape(batch * outputs, inputs, side, side), padding=side // 2, groups=batch)
        y = F.avg_pool2d(y, 2) if resample == "down" else y
    return y.reshape(batch, outputs, *y.shape[2:])


def update_parameters(self: nn.Module, module: nn.Module) -> None:
    """The running average of the parameters, one after the other."""
    with torch.no_grad():
        for average, current in zip(self.parameters(), module.parameters(), strict=True):
            average.lerp_(current, 0.002)


# --------------------------------------------------------------------------------------------------------------- losses


def geometric_regulariser(logits: list[Tensor], gX: Tensor, entropy: float, coordinates: float) -> Tensor:
    """R_g out of log-softmax, exponential, a dense Gaussian target and products of whole maps."""
    size = logits[-1].shape[-1]
    axis = centres(size, gX)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    distance = (x - gX[..., 0, None, None]).square() + (y - gX[..., 1, None, None]).square()
    gL = (-0.5 * size**2 * distance).flatten(2).softmax(-1).view_as(distance).detach()
    total = gX.new_zeros(())
    for stack in logits:
        log_L = stack.float().flatten(2).log_softmax(-1).view_as(stack)
        L = log_L.exp()
        X_L = torch.stack(((L * x).sum((2, 3)), (L * y).sum((2, 3))), dim=-1)
        total = total - entropy / PAPER_UNIT * (gL * log_L).sum((2, 3)).mean()
        total = total + coordinates * (X_L - gX).abs().mean()
    return total / len(logits)


@torch.no_grad()
def soft_argmax(logits: Tensor) -> Tensor:
    """X_L out of a softmax and products of whole maps."""
    axis = centres(logits.shape[-1], logits.float())
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    L = logits.float().flatten(2).softmax(-1).view_as(logits)
    return torch.stack(((L * x).sum((2, 3)), (L * y).sum((2, 3))), dim=-1)


def barycenter_regulariser(X_L: Tensor, X_b: Tensor, terms: BarycenterTerms) -> Tensor:
    """R_b with transport between the clouds, one image after the other: POT's `emd` for A, `emd2` for each distance.

    The paper's coupling by optimal transport, whatever `terms.coupling` says; A is affine.
    """
    losses = []
    for X in X_L:
        centred, target = X - X.mean(0), X_b - X_b.mean(0)
        A = _affine(centred, target, terms.ridge)
        aligned = centred @ (A.detach() if terms.detach_affine else A)
        moved = X + (X_b.mean(0) - X.mean(0))
        lengths = (_wasserstein2(X, moved), _wasserstein2(centred, aligned), _wasserstein2(aligned, target))
        weights = X_b.new_tensor((terms.c11, terms.c12, terms.c13))
        losses.append((weights * F.relu(torch.stack(lengths) - X_b.new_tensor(terms.tolerances))).sum())
    return torch.stack(losses).mean()


def _uniform(points: Tensor) -> Tensor:
    return points.new_full((len(points),), 1 / len(points))


def _wasserstein2(x: Tensor, y: Tensor) -> Tensor:
    cost: Tensor = ot.emd2(_uniform(x), _uniform(y), ot.dist(x, y))
    return cost


def _affine(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    plan = ot.emd(_uniform(x), _uniform(y), ot.dist(x, y).detach())
    spread = x.T @ x / len(x)
    pull = (ridge * spread.trace() + 1e-12) * torch.eye(2, device=x.device, dtype=x.dtype)
    A: Tensor = torch.linalg.solve(spread + pull, x.T @ plan @ y + pull)
    return A


# --------------------------------------------------------------------------------------------------------- augmentation


class Warp:
    """g from kornia's modules: a thin-plate spline solved image by image, then RandomAffine, then elastic noise."""

    def __init__(
        self, family: Family, batch: int, size: int, source: Tensor | None, destination: Tensor | None
    ) -> None:
        self.size, self.source, self.destination = size, source, destination
        low, high = 1 / (1 + family.scale), 1 + family.scale
        affine = K.RandomAffine(
            family.rotation, (family.shift, family.shift), (low, high), p=1.0, padding_mode="reflection"
        )
        self.affine = K.AugmentationSequential(affine, data_keys=["input", "keypoints"])
        sigma = (family.correlation or PAPER.correlation) * size  # kornia shakes the image in any case
        self.side, self.sigma = 2 * int(3 * sigma) + 1, (sigma, sigma)
        # the deviation of uniform noise in ±1 after a Gaussian filter is √⅓ / (2√π σ); kornia's frame is 2 wide
        self.alpha = 2 * family.elastic * sqrt(3) * 2 * sqrt(pi) * sigma
        self.elastic = K.RandomElasticTransform(
            (self.side, self.side), self.sigma, (self.alpha, self.alpha), padding_mode="reflection", p=1.0
        )
        shape = torch.Size((batch, 3, size, size))
        self.moved, self.shaken = self.affine.forward_parameters(shape), self.elastic.forward_parameters(shape)

    def images(self, images: Tensor) -> Tensor:
        """gI: (B, 3, S, S) → the same, three samplings of the image."""
        x = images
        if self.source is not None and self.destination is not None:
            pieces = []
            for image, start, end in zip(x, 2 * self.source - 1, 2 * self.destination - 1, strict=True):
                weights, plane = get_tps_transform(end[None], start[None])
                pieces.append(warp_image_tps(image[None], start[None], weights, plane, padding_mode="reflection"))
            x = torch.cat(pieces)
        x = self.affine(x, params=self.moved, data_keys=["input"])
        warped: Tensor = self.elastic(x, params=self.shaken)
        return warped

    def points(self, points: Tensor) -> Tensor:
        """gX: (B, K, 2) → (B, K, 2), up to the first order of the elastic part."""
        x = points
        if self.source is not None and self.destination is not None:
            pieces = []
            for cloud, start, end in zip(2 * x - 1, 2 * self.source - 1, 2 * self.destination - 1, strict=True):
                weights, plane = get_tps_transform(start[None], end[None])
                pieces.append((warp_points_tps(cloud[None], end[None], weights, plane) + 1) / 2)
            x = torch.cat(pieces)
        x = (self.affine(x * self.size - 0.5, params=self.moved, data_keys=["keypoints"]) + 0.5) / self.size
        moved: Tensor = x - self._shaken(x)
        return moved

    def origins(self, points: Tensor) -> Tensor:
        """b(p): (B, K, 2) → (B, K, 2), up to the first order of the elastic part; of a g without a thin-plate part."""
        x = (points + self._shaken(points)) * self.size - 0.5
        straight = cast(Tensor, self.affine.inverse(x, params=self.moved, data_keys=["keypoints"]))
        return (straight + 0.5) / self.size

    def _shaken(self, points: Tensor) -> Tensor:
        """Where the elastic part reads, less the point itself: (B, K, 2)."""
        noise = self.shaken["noise"].to(points)
        field = gaussian_blur2d(noise, (self.side, self.side), self.sigma, "constant") * self.alpha
        shifts = [
            F.grid_sample(one[None], 2 * cloud[None, None] - 1, align_corners=False)[0, :, 0].T
            for one, cloud in zip(field, points, strict=True)
        ]
        return torch.stack(shifts) / 2


def sample(
    family: Family,
    batch: int,
    size: int,
    generator: Generator,
    source: Tensor | None = None,
    destination: Tensor | None = None,
) -> Warp:
    """`Warp.sample`, of kornia's random numbers."""
    return Warp(family, batch, size, source, destination)


def jitter(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Brightness, contrast, saturation, hue, grey, blur and noise by kornia's modules."""
    light: Tensor = _photometric(strength)((images + 1) / 2)
    return 2 * light.clamp(0, 1) - 1


@cache
def _photometric(strength: float) -> nn.Module:
    colours = K.ColorJiggle(strength / 2, strength, strength, strength / 8, p=1.0)
    blur = K.RandomGaussianBlur((5, 5), (1.0, 1.0), p=0.5)
    noise = K.RandomGaussianNoise(std=0.05 * strength, p=1.0)
    grey = K.RandomGrayscale(p=strength / 4)
    return K.AugmentationSequential(colours, grey, blur, noise, data_keys=["input"])


def cutout(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """A random rectangle blanked."""
    erased: Tensor = _erasing(probability)(images)
    return erased


@cache
def _erasing(probability: float) -> nn.Module:
    erasing: nn.Module = K.RandomErasing((0.02, 0.2), (0.33, 3.0), p=probability)
    return erasing
