"""The thin-plate part of g: a smooth field through given displacements, which never folds the image.

h = argmin Σ_k ‖h(c_k) − v_k‖² + λ ∫ ‖∇²h‖²   →   h(p) = a + Bp + Σ_k w_k r_k² log r_k²,   r_k = ‖p − c_k‖
"""

import torch
from torch import Tensor

from brule.maths.heatmaps import centres

NODES, MARGIN = 26, 2
"""The spline is evaluated on NODES² nodes (and a margin) and interpolated by cubics from there."""
CLOSE, LOOSE = 1e-4, 1e-2
"""Smoothing λ: close, within a tenth of a pixel of 64; loose where close would fold (open lips that shall close)."""
CORNER = 1e-8
"""Keeps one, two or collinear landmarks solvable."""
LEAST = 0.1
"""Least area a pixel may be left with by the thin-plate part, as a share of its area under the affine part."""


def thin_plate(places: Tensor, values: Tensor, size: int, linear: Tensor) -> Tensor:
    """h (B, 2, S, S) with h(places) ≈ values, both (B, K, 2), so that linear·p + h(p) does not fold; linear (B, 2, 2).

    Where the close spline folds, the loose one takes its place, shortened by as much as it still folds.
    """
    close, loose = _evaluated(places, values, size)
    folds = _reach(close, linear) < 1
    return torch.where(folds, loose * _reach(loose, linear), close)


def _evaluated(places: Tensor, values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The close and the loose spline, (B, 2, S, S) each: other weights on the same kernel, which is what costs."""
    weights, plane = _solved(places.double(), values.double())
    axis = (torch.arange(-MARGIN, NODES + MARGIN, device=places.device) + 0.5) / NODES
    across, down = (axis[:, None] - places[:, None, :, 0]).square(), (axis[:, None] - places[:, None, :, 1]).square()
    squares = (down[:, :, None] + across[:, None]).flatten(1, 2).clamp_(min=1e-12)
    nodes = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(1, -1, 2)
    bent = squares.log().mul_(squares) @ weights + nodes @ plane[:, 1:] + plane[:, :1]
    cubic = _cubic(size, bent)
    fields = cubic @ bent.mT.reshape(-1, 4, len(axis), len(axis)) @ cubic.T
    return fields[:, :2], fields[:, 2:]


def _solved(places: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Weights w (B, K, 2 + 2) and planes (B, 3, 2 + 2), close and loose, solved in float64, returned in float32."""
    batch, count, _ = places.shape
    squares = (places[:, :, None] - places[:, None]).square().sum(-1).clamp_(min=1e-30)
    plane = torch.cat((torch.ones_like(places[..., :1]), places), dim=-1)
    if places.is_cuda:
        return _eliminated(squares.log() * squares, plane, values)
    corner = -CORNER * torch.eye(3, device=places.device, dtype=places.dtype).expand(batch, 3, 3)
    system = torch.cat((torch.cat((squares.log() * squares, plane), 2), torch.cat((plane.mT, corner), 2)), 1)
    wanted = torch.cat((values, values.new_zeros(batch, 3, 2)), 1)
    landmarks = torch.diag((torch.arange(count + 3, device=places.device) < count).to(places.dtype))
    solutions = [torch.linalg.solve_ex(system + smoothing * landmarks, wanted)[0] for smoothing in (CLOSE, LOOSE)]
    both = torch.cat(solutions, dim=-1).float()
    return both[:, :count], both[:, count:]


def _eliminated(kernel: Tensor, plane: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """`_solved` by elimination, which a CUDA graph can record: torch's solver asks the CPU.

    The corner gives the plane, a = Pᵀw / CORNER, and leaves (kernel + λ + P Pᵀ / CORNER) w = values. That is positive
    definite, so that no pivot is looked for.
    """
    batch, count, _ = plane.shape
    whole = kernel + plane @ plane.mT / CORNER
    smoothing = torch.eye(count, device=kernel.device, dtype=kernel.dtype)
    left = torch.cat((torch.cat((whole + CLOSE * smoothing, whole + LOOSE * smoothing)), values.repeat(2, 1, 1)), 2)
    for i in range(count):
        row = left[:, i : i + 1] / left[:, i : i + 1, i : i + 1]
        left = torch.addcmul(left, left[:, :, i : i + 1], row, value=-1)
        left[:, i : i + 1] = row
    w = left[:, :, count:]
    a = torch.cat((plane, plane)).mT @ w / CORNER
    weights, planes = (torch.cat(torch.split(x.float(), batch), dim=-1) for x in (w, a))
    return weights, planes


def _cubic(size: int, like: Tensor) -> Tensor:
    """Catmull-Rom weights (size, NODES + 2·MARGIN) from the coarse lattice to pixel centres."""
    wanted = centres(size, like) * NODES - 0.5 + MARGIN
    distance = (wanted[:, None] - torch.arange(NODES + 2 * MARGIN, device=like.device)).abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))


def _reach(field: Tensor, linear: Tensor) -> Tensor:
    """Largest t ≤ 1, (B, 1, 1, 1), with det(I + t·linear⁻¹·∇field) ≥ LEAST in every cell: 1 + t·trace + t²·det."""
    size = field.shape[-1]
    dx = (field[..., :-1, 1:] - field[..., :-1, :-1]) * size
    dy = (field[..., 1:, :-1] - field[..., :-1, :-1]) * size
    (xx, xy), (yx, yy) = dx.unbind(1), dy.unbind(1)
    a, b, c, d = linear.flatten(1)[..., None, None].unbind(1)
    unit = a * d - b * c
    trace = (d * xx - b * xy + a * yy - c * yx) / unit
    det = (xx * yy - xy * yx) / unit
    root = (trace.square() - 4 * det * (1 - LEAST)).clamp(min=0).sqrt()
    # 1/t of the first positive root of (1 − LEAST) + trace·t + det·t² = 0; none where trace ≥ 0 and det ≥ 0
    inverse = (root - trace) / (2 * (1 - LEAST))
    real = trace.square() >= 4 * det * (1 - LEAST)
    return 1 / torch.where(real, inverse, 0.0).flatten(1).amax(1).clamp(min=1).view(-1, 1, 1, 1)
