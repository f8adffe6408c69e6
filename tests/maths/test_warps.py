"""g acts on images, heatmaps and points alike: whatever is drawn at a point is found where the point goes."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brule.maths import splines, warps
from brule.maths.family import PAPER, Family, Spread
from brule.maths.heatmaps import condition, coordinates, sparse
from brule.maths.warps import Warp, towards

STILL = Family(rotation=0, shift=0, scale=0)
STRONG = replace(PAPER, rotation=40, shift=0.2, scale=0.4)
SIZE = 64
PIXEL = 1 / SIZE


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _sampled(family: Family, faces: Tensor, thin_plate: bool, seed: int = 0) -> tuple[Warp, Tensor]:
    """A warp of 8 images of 64 pixels, and the faces it moves."""
    source = faces[:8].float()
    destination = towards(source, faces.float(), 1.2, _seeded(seed)) if thin_plate else None
    return Warp.sample(family, 8, SIZE, _seeded(seed), source if thin_plate else None, destination), source


def _ramps(size: int) -> Tensor:
    """Two images whose values are the x and the y of each pixel: warped, they show where each pixel came from."""
    axis = (torch.arange(size) + 0.5) / size
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"))[None]


@pytest.mark.parametrize("thin_plate", [False, True])
@pytest.mark.parametrize("family", [PAPER, STRONG])
def test_a_drawn_dot_lies_where_the_point_goes(family: Family, thin_plate: bool, faces: Tensor):
    warp, points = _sampled(family, faces, thin_plate)
    points = points[:, ::12]
    moved = warp.points(points)
    # drawn eight times finer than the lattice: a dot as wide as the noise's correlation is itself bent out of shape
    fine = 8 * SIZE
    dots = warp.images(condition(points, fine, 0.6)) * condition(moved, fine, 16.0)  # without its reflections
    found = coordinates(dots / dots.sum((2, 3), keepdim=True).clamp(min=1e-6))
    inside = ((points > 0.1) & (points < 0.9) & (moved > 0.05) & (moved < 0.95)).all(-1)
    assert inside.sum() > 30
    assert ((found - moved).norm(dim=-1)[inside] / PIXEL).max() < 0.1


@pytest.mark.parametrize("thin_plate", [False, True])
@pytest.mark.parametrize("family", [PAPER, STRONG])
def test_the_image_at_the_moved_point_is_the_image_at_the_point(family: Family, thin_plate: bool, faces: Tensor):
    warp, points = _sampled(family, faces, thin_plate)
    moved = warp.points(points)
    shown = warp.images(_ramps(SIZE).expand(8, -1, -1, -1))
    read = torch.nn.functional.grid_sample(shown, 2 * moved[:, None] - 1, align_corners=False)[:, :, 0].mT
    # where four neighbours of the moved point all came from inside the frame, the ramps say exactly from where
    inside = ((points > 0.08) & (points < 0.92) & (moved > 0.02) & (moved < 0.98)).all(-1)
    assert inside.sum() > 200
    assert (read - points)[inside].abs().max() < 1e-3 * PIXEL + 1e-6


@pytest.mark.parametrize("thin_plate", [False, True])
@pytest.mark.parametrize("size", [32, 64, 96])
def test_points_round_trip(thin_plate: bool, size: int, faces: Tensor):
    source = faces[:16].float()
    destination = towards(source, faces.float(), 1.0, _seeded(2))
    pair = (source, destination) if thin_plate else (None, None)
    warp = Warp.sample(replace(PAPER, rotation=30, shift=0.15, scale=0.35), 16, size, _seeded(1), *pair)
    error = (warp.origins(warp.points(source)) - source).norm(dim=-1) * size
    assert error.max() < 1e-3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_maps_move_with_the_points_and_keep_mass_one(seed: int):
    points = 0.3 + 0.4 * torch.rand(2, 5, 2, generator=_seeded(seed))
    warp = Warp.sample(replace(PAPER, correlation=0.2), 2, SIZE, _seeded(seed))
    maps = warp.maps(sparse(points, 32))
    assert torch.allclose(maps.sum((2, 3)), torch.ones(2, 5), atol=1e-5)
    assert ((coordinates(maps) - warp.points(points)).norm(dim=-1) * 32).max() < 0.1


def test_a_map_carried_out_of_the_frame_becomes_uniform():
    warp = Warp(torch.eye(2)[None], torch.full((1, 2), 5.0), torch.zeros(1, 2, 16, 16))
    maps = warp.maps(sparse(torch.full((1, 1, 2), 0.5), 16))
    assert torch.allclose(maps, torch.full_like(maps, 1 / 256))


def test_the_thin_plate_carries_source_onto_destination(faces: Tensor):
    source = faces[:8].float()
    # a bend that no affine map makes, of up to three pixels
    destination = source + 0.05 * torch.stack(((math.pi * source[..., 1]).sin(), source[..., 0] ** 2), dim=-1)
    still = Warp.sample(STILL, 8, SIZE, _seeded(), source, destination)
    assert (still.points(source) - destination).norm(dim=-1).max() < 0.1 * PIXEL
    affine = Warp.sample(replace(PAPER, elastic=0), 8, SIZE, _seeded(), source, destination)
    plain = Warp.sample(replace(PAPER, elastic=0), 8, SIZE, _seeded())
    assert (affine.points(source) - plain.points(destination)).norm(dim=-1).max() < 0.15 * PIXEL


def test_the_thin_plate_never_folds_the_image(faces: Tensor):
    source = faces[:8].float()
    swapped = source.roll(1, dims=1)
    warp = Warp.sample(STRONG, 8, SIZE, _seeded(), source, source + 2 * (swapped - source))
    field = warp.field()
    dx, dy = field[:, :-1, 1:] - field[:, :-1, :-1], field[:, 1:, :-1] - field[:, :-1, :-1]
    area = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
    assert area.min() > 0
    assert (warp.points(source) - Warp.sample(STRONG, 8, SIZE, _seeded()).points(source)).abs().max() > PIXEL


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_collinear_or_coincident_landmarks_still_warp(count: int):
    source = torch.linspace(0.3, 0.7, count)[None, :, None].expand(2, -1, 2)
    source = torch.cat((source, source[:, :1]), dim=1)
    warp = Warp.sample(STILL, 2, SIZE, _seeded(), source, source + 0.05)
    assert (warp.points(source) - source - 0.05).abs().max() < 0.1 * PIXEL


@pytest.mark.parametrize("warp", [Warp.identity(2, SIZE), Warp.sample(STILL, 2, SIZE, _seeded())])
def test_identity(warp: Warp):
    images = torch.rand(2, 3, SIZE, SIZE, generator=_seeded())
    assert torch.equal(warp.images(images), images)
    points = torch.rand(2, 9, 2, generator=_seeded()) * 1.2 - 0.1
    assert torch.allclose(warp.points(points), points, atol=1e-6)
    maps = sparse(points, 32)
    assert torch.allclose(warp.maps(maps), maps, atol=1e-6)
    assert (Warp.identity(2, 96).images(torch.ones(2, 3, 96, 96)) - 1).abs().max() < 1e-6


def test_the_affine_part_turns_scales_and_shifts_as_said():
    family = Family(rotation=20, shift=0.1, scale=0.25)
    warp = Warp.sample(family, 2000, 2, _seeded())
    centre, right = warp.points(torch.tensor([[[0.5, 0.5], [0.6, 0.5]]]).expand(2000, -1, -1)).unbind(1)
    arm = (right - centre) / 0.1
    angle, scale, shift = torch.atan2(arm[:, 1], arm[:, 0]) * 180 / math.pi, arm.norm(dim=-1).log(), centre - 0.5
    for value, bound in ((angle, 20), (scale, math.log(1.25)), (shift, 0.1)):
        assert value.abs().max() <= bound * 1.001
        assert value.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert abs(value.mean()) < bound / 10


def test_elastic_noise_has_its_size_and_its_correlation_everywhere():
    family = Family(rotation=0, shift=0, scale=0, elastic=0.01, correlation=0.05)
    noise = Warp.sample(family, 300, SIZE, _seeded()).residual
    assert noise.std((0, 1)) == pytest.approx(torch.full((SIZE, SIZE), 0.01).numpy(), rel=0.2)
    assert noise.std() == pytest.approx(0.01, rel=0.03)
    lag = 6  # the correlation of smoothed white noise at a lag: exp(-lag² / 4 sigma²)
    correlation = (noise[..., lag:] * noise[..., :-lag]).mean() / noise.square().mean()
    assert correlation == pytest.approx(math.exp(-((lag / (0.05 * SIZE)) ** 2) / 4), abs=0.03)


def test_every_image_has_its_own_and_the_generator_decides(faces: Tensor):
    warp, source = _sampled(PAPER, faces, True)
    again, _ = _sampled(PAPER, faces, True)
    other, _ = _sampled(PAPER, faces, True, seed=1)
    assert torch.equal(warp.field(), again.field())
    assert not torch.equal(warp.field(), other.field())
    moved = warp.points(source[:1].expand(8, -1, -1))
    assert (torch.cdist(moved.flatten(1), moved.flatten(1)) + torch.eye(8)).min() > 0.05


def test_points_have_the_gradient_of_the_inverse():
    warp = Warp.sample(PAPER, 1, SIZE, _seeded())
    point = torch.tensor([[[0.4, 0.6]]], requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(warp.points, point).view(2, 2)
    step = 1e-3 * torch.eye(2)
    finite = [(warp.points(point + h) - warp.points(point - h)).view(2) / 2e-3 for h in step]
    assert torch.allclose(jacobian, torch.stack(finite, dim=-1), atol=0.05)


def test_full_precision_under_autocast(faces: Tensor):
    source = faces[:2].float()
    images = torch.rand(2, 3, SIZE, SIZE, generator=_seeded())

    def act() -> tuple[Tensor, ...]:
        warp = Warp.sample(PAPER, 2, SIZE, _seeded(), source, source.flip(0))
        return warp.images(images), warp.points(source), warp.maps(sparse(source, 32))

    calm = act()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = act()
    assert all(torch.equal(first, second) for first, second in zip(calm, mixed, strict=True))
    assert Warp.identity(2, SIZE).images(images.bfloat16()).dtype == torch.float32


def test_source_without_destination_raises():
    with pytest.raises(ValueError, match="together"):
        Warp.sample(PAPER, 1, SIZE, _seeded(), source=torch.rand(1, 5, 2))


def test_towards_goes_the_asked_share_of_the_way_to_an_aligned_shape(faces: Tensor):
    points = faces[:4].float()
    turn = torch.tensor([[0.0, 2.0], [-2.0, 0.0]])
    assert torch.allclose(towards(points[:1], points[:1] @ turn + 3, 1.0, _seeded()), points[:1], atol=1e-5)
    assert torch.equal(towards(points, faces.float(), 0.0, _seeded()), points)
    target = towards(points[:1].expand(500, -1, -1), faces[:1].float() * torch.tensor([1.3, 0.8]), 1.0, _seeded())
    length = (target - points[0]).flatten(1).norm(dim=1)
    share = length / length.max()  # √U has mean 2/3
    assert share.mean() == pytest.approx(2 / 3, abs=0.03)


def test_the_spread_of_shapes_is_that_of_the_moves_that_made_them(faces: Tensor):
    X_b, random = faces[0].double(), _seeded(3)
    middle = X_b.mean(0)
    angle, size = 0.2 * torch.randn(4000, generator=random), (0.1 * torch.randn(4000, generator=random)).exp()
    shift = torch.randn(4000, 1, 2, generator=random).double() * torch.tensor([0.05, 0.02])
    turn = torch.stack((angle.cos(), angle.sin(), -angle.sin(), angle.cos()), dim=-1).view(-1, 2, 2).double()
    moved = (X_b - middle) @ (size[:, None, None] * turn) + middle + shift
    spread = warps.spread(moved, X_b)
    assert spread.rotation == pytest.approx(math.degrees(0.2), rel=0.05)
    assert spread.scale == pytest.approx(math.expm1(0.1), rel=0.05)
    assert spread.shift == pytest.approx(0.02, rel=0.05), "of the two directions, the one that is surer"


def test_a_family_within_a_spread_is_no_wider_and_bends_as_before():
    family = Family(rotation=15, shift=0.06, scale=0.1, amplitude=1.5, elastic=0.01, correlation=0.1, bounded=True)
    within = family.within(Spread(rotation=4.0, shift=0.2, scale=0.05))
    assert within == replace(family, rotation=4.0, scale=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_everything_stays_on_the_device(faces: Tensor):
    source = faces[:2].float().cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    destination = towards(source, faces.float().cuda(), 1.0, generator)
    warp = Warp.sample(PAPER, 2, SIZE, generator, source, destination)
    moved = warp.points(source)
    assert moved.device == warp.images(torch.zeros(2, 3, SIZE, SIZE, device="cuda")).device == source.device
    assert ((warp.origins(moved) - source).norm(dim=-1) * SIZE).max() < 1e-3
    assert warps.similarity(source, destination).device == source.device


@pytest.mark.parametrize("count", [1, 2, 3, 68])
def test_elimination_bends_as_torch_s_solver_does(count: int, faces: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes its place on a GPU."""
    places, ends = faces[:4, :count].float(), faces[4:8, :count].float()
    straight = torch.eye(2).expand(4, 2, 2)
    solved = splines.thin_plate(places, ends - places, SIZE, straight)
    monkeypatch.setattr(Tensor, "is_cuda", True)
    eliminated = splines.thin_plate(places, ends - places, SIZE, straight)
    assert count < 68 or not torch.equal(solved, eliminated), "the same way twice"
    torch.testing.assert_close(eliminated, solved, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_newton_stops_where_more_steps_would_change_no_bit(
    seed: int, faces: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    g, points = _sampled(STRONG, faces, True, seed)
    reads, read = [], Warp._read
    monkeypatch.setattr(Warp, "_read", lambda self, places: reads.append(1) or read(self, places))
    stopped = g.points(points)
    assert len(reads) < 1 + warps.NEWTON_STEPS
    monkeypatch.setattr(torch, "equal", lambda a, b: False)
    to_the_end = g.points(points)
    assert (stopped == to_the_end).all()
    assert len(reads) > 1 + warps.NEWTON_STEPS
