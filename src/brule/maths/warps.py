"""g, the random geometric transformation (the paper, section 2): one field that moves images, heatmaps and points.

Convention: b maps the output frame to the input frame, gI(p) = I(b(p)), both in [0, 1]², order (x, y), half-pixel
centres.

    b(p) = A⁻¹p + e(p) + h(p + A·e(p))

A: rotation, scale and shift about the centre; e: the elastic noise; h: the thin-plate spline, in the output frame, with
h(A·destination) = source − destination. All but A⁻¹p lives on a lattice, read bilinearly and held constant beyond the
border. Images and heatmaps read through b, and points go through its Newton inverse: all three move together. A fresh g
is drawn for every image: the paper's family is affine and elastic (section 4), and `towards` draws the thin-plate part
from the prior of shapes.
"""

from dataclasses import dataclass
from math import ceil, log, pi

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from brule.maths import draws, transport
from brule.maths.family import Family, Spread
from brule.maths.heatmaps import centres
from brule.maths.precision import full_precision
from brule.maths.splines import thin_plate
from brule.maths.transport import apply, inverse, similarity


@full_precision
def towards(points: Tensor, shapes: Tensor, amplitude: float, generator: torch.Generator) -> Tensor:
    """points + amplitude·√U·(s − points): towards a random shape s of the set, aligned to the points by a similarity.

    points (B, K, 2), shapes (M, K, 2) → (B, K, 2). s and U ~ uniform[0, 1] are drawn per image.
    """
    batch = points.shape[0]
    chosen = draws.randint(0, len(shapes), (batch,), generator)
    aligned = similarity(shapes[chosen].to(points), points)
    share = draws.rand(batch, 1, 1, generator=generator).sqrt()
    return points + amplitude * share * (aligned - points)


@full_precision
def spread(shapes: Tensor, X_b: Tensor) -> Spread:
    """How far shapes (M, K, 2) differ in turn, place and size, by the best similarity of X_b (K, 2) to each."""
    maps = transport.affine(X_b.expand_as(shapes), shapes, ridge=0.0, kind="similarity")  # (M, 2, 2)
    cosine, sine = maps[:, 0, 0], maps[:, 0, 1]
    angle, size = torch.atan2(sine, cosine), torch.hypot(cosine, sine).log()
    middles = shapes.mean(1).std(0, correction=0)
    return Spread(
        rotation=float(angle.std(correction=0)) * 180 / pi,
        shift=float(middles.min()),
        scale=float(size.std(correction=0).expm1()),
    )


def affine(family: Family, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A⁻¹p = linear·p + offset of random rotations, scales and shifts about the frame's centre."""
    drawn = 2 * draws.rand(batch, 4, generator=generator) - 1
    angle = drawn[:, 0] * (family.rotation * pi / 180)
    shrink = (-drawn[:, 1] * log(1 + family.scale)).exp()
    cosine, sine = shrink * angle.cos(), shrink * angle.sin()
    linear = torch.stack((cosine, sine, -sine, cosine), dim=-1).view(-1, 2, 2)
    middle = linear.new_full((batch, 1, 2), 0.5)
    offset = middle - apply(linear, middle + family.shift * drawn[:, None, 2:])
    return linear, offset[:, 0]


def elastic(family: Family, batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Stationary Gaussian displacements (B, 2, S, S) of standard deviation `elastic`, smoothed over `correlation`."""
    if family.elastic == 0:
        return torch.zeros(batch, 2, size, size, device=generator.device)
    sigma = family.correlation * size
    reach = ceil(3 * sigma)
    noise = draws.randn(batch, 2, size + 2 * reach, size + 2 * reach, generator=generator)
    places = torch.arange(size + 2 * reach, device=generator.device)
    distance = (places - reach - torch.arange(size, device=generator.device)[:, None]).float()
    kernel = torch.where(distance.abs() <= reach, (-0.5 * (distance / sigma).square()).exp(), 0.0)
    kernel = kernel / kernel.square().sum(1, keepdim=True).sqrt()  # unit variance stays unit variance
    return family.elastic * (kernel @ noise @ kernel.T)


NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False)
class Warp:
    """One deformation for each of B images. linear (B, 2, 2) and offset (B, 2): A⁻¹p; residual (B, 2, S, S): h + e."""

    linear: Tensor
    offset: Tensor
    residual: Tensor

    @staticmethod
    def identity(batch: int, size: int, device: torch.device | str = "cpu") -> "Warp":
        """The deformation that leaves everything where it is, bit for bit at sizes that are powers of two."""
        linear = torch.eye(2, device=device).expand(batch, 2, 2)
        return Warp(linear, linear.new_zeros(batch, 2), linear.new_zeros(batch, 2, size, size))

    @staticmethod
    @full_precision
    def sample(
        family: Family,
        batch: int,
        size: int,
        generator: torch.Generator,
        source: Tensor | None = None,
        destination: Tensor | None = None,
    ) -> "Warp":
        """Draw a fresh g for each of `batch` images, its lattice `size` × `size`, on the generator's device.

        source, destination (B, K, 2): g carries source onto destination before the affine and elastic parts, as far as
        that does not fold the image; `points(source)` says how far. Both None: no thin-plate part. Raises ValueError
        where one is missing.
        """
        if (source is None) != (destination is None):
            raise ValueError("Warp.sample: source and destination come together; give both or neither")
        linear, offset = affine(family, batch, generator)
        residual = elastic(family, batch, size, generator)
        if source is not None and destination is not None:
            start, end = source.detach().float(), destination.detach().float()
            forward = inverse(linear)
            bend = thin_plate(apply(forward, end - offset[:, None]), start - end, size, linear)
            residual = residual + _displaced(bend, torch.einsum("bij,bjhw->bhwi", forward, residual))
        return Warp(linear, offset, residual)

    @property
    def device(self) -> torch.device:
        """Where the field lives."""
        return self.residual.device

    @full_precision
    def field(self, size: int | None = None) -> Tensor:
        """b at the pixel centres of a `size` × `size` frame (None: the lattice itself) → (B, size, size, 2)."""
        size = size or self.residual.shape[-1]
        axis = centres(size, self.residual)
        pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(1, -1, 2)
        residual = self.residual
        if residual.shape[-1] != size:
            residual = interpolate(residual, (size, size), mode="bilinear", align_corners=False)
        straight = apply(self.linear, pixels) + self.offset[:, None]
        return straight.view(-1, size, size, 2) + residual.permute(0, 2, 3, 1)

    @full_precision
    def images(self, images: Tensor) -> Tensor:
        """gI: images (B, C, S, S) → the same shape, float32, borders reflected."""
        grid = 2 * self.field(images.shape[-1]).to(images.dtype) - 1
        return grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    @full_precision
    def maps(self, maps: Tensor) -> Tensor:
        """gL: heatmaps (B, K, D, D) of mass 1 → the same, the field resampled to D and the mass restored to 1.

        No reflection here: it would show a landmark twice. A map carried out of the frame altogether becomes uniform.
        """
        grid = 2 * self.field(maps.shape[-1]).to(maps.dtype) - 1
        moved = grid_sample(maps, grid, padding_mode="zeros", align_corners=False) + 1e-12
        return moved / moved.sum((-2, -1), keepdim=True)

    @full_precision
    def origins(self, points: Tensor) -> Tensor:
        """b(p), where output points came from: points (B, K, 2) → (B, K, 2)."""
        return self._read(points.to(self.linear.dtype))[0]

    @full_precision
    def points(self, points: Tensor) -> Tensor:
        """gX = b⁻¹(X), where input points go: (B, K, 2) → (B, K, 2), possibly outside the frame. Differentiable in X.

        Damped Newton from the nearest of 16 × 16 nodes. Where g folds the image the nearest sheet is taken.
        """
        points = points.to(self.linear.dtype)
        place, slope = self._invert(points.detach())
        return place + apply(inverse(slope), points - points.detach())

    @torch.no_grad()
    def _invert(self, target: Tensor) -> tuple[Tensor, Tensor]:
        place = self._nearest(target)
        reached, slope = self._read(place)
        miss = target - reached
        far = miss.norm(dim=-1, keepdim=True)
        damping = torch.ones_like(far)
        for _ in range(NEWTON_STEPS):
            step = apply(inverse(slope), miss)
            step = step * (0.1 / step.norm(dim=-1, keepdim=True).clamp(min=0.1))
            trial = place + damping * step
            if place.device.type == "cpu" and torch.equal(trial, place):
                break  # shorter steps would move nothing either; a GPU would have to be waited for to know
            reached, bend = self._read(trial)
            left = target - reached
            rest = left.norm(dim=-1, keepdim=True)
            better = rest < far
            place, slope = torch.where(better, trial, place), torch.where(better[..., None], bend, slope)
            miss, far = torch.where(better, left, miss), torch.where(better, rest, far)
            damping = torch.where(better, (2 * damping).clamp(max=1), damping / 4)
        return place, slope

    def _nearest(self, target: Tensor, nodes: int = 16) -> Tensor:
        near = torch.cdist(target, self.field(nodes).flatten(1, 2)).argmin(-1)
        rows = near.div(nodes, rounding_mode="floor")
        return torch.stack((near - rows * nodes + 0.5, rows + 0.5), dim=-1).to(target.dtype) / nodes

    def _read(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """b (B, K, 2) and ∂b/∂p (B, K, 2, 2) at points (B, K, 2): the bilinear lattice that `field` also reads."""
        size = self.residual.shape[-1]
        wanted = points * size - 0.5
        held = wanted.clamp(0, size - 1).nan_to_num(0)  # a NaN in stays a NaN out, but must not be an index
        corner = held.floor().clamp(max=size - 2)
        fx, fy = (held - corner).unbind(-1)
        column, row = corner.long().unbind(-1)
        first = row * size + column
        index = torch.cat((first, first + 1, first + size, first + size + 1), dim=1)
        flat = self.residual.flatten(2)
        corners = flat.gather(2, index[:, None].expand(-1, 2, -1)).transpose(1, 2)
        nw, ne, sw, se = corners.chunk(4, dim=1)
        fx, fy, free = fx[..., None], fy[..., None], (wanted == held).to(points.dtype) * size
        north, south = nw + fx * (ne - nw), sw + fx * (se - sw)
        value = apply(self.linear, points) + self.offset[:, None] + north + fy * (south - north)
        across = (ne - nw + fy * (se - sw - ne + nw)) * free[..., :1]
        down = (south - north) * free[..., 1:]
        return value, self.linear[:, None] + torch.stack((across, down), dim=-1)


def _displaced(lattice: Tensor, shift: Tensor) -> Tensor:
    """lattice(p + shift(p)): (B, 2, S, S) read at its own centres moved by (B, S, S, 2)."""
    grid = Warp.identity(lattice.shape[0], lattice.shape[-1], lattice.device).field() + shift
    read: Tensor = grid_sample(lattice, 2 * grid - 1, padding_mode="border", align_corners=False)
    return read
