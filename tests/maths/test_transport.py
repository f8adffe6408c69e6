"""W, P, T, A, X_b against SciPy and POT, and against answers that are obvious."""

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from brule.maths import transport


def _cloud(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rotation(degrees: float) -> Tensor:
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 20))
def test_distances_and_plans_match_pot(seed: int, n: int, m: int):
    x, y = _cloud(seed, 2, n), _cloud(seed + 1, 2, m)
    squares = torch.cdist(x, y).square()
    mass = [np.full(count, 1 / count) for count in (n, m)]
    for power, distance in ((1, transport.wasserstein1), (2, transport.wasserstein2)):
        exact = [ot.emd2(*mass, (cost ** (power / 2)).numpy()) for cost in squares]
        assert np.allclose(distance(x, y).numpy(), exact, atol=1e-9)
    plan = transport.plan(x, y)
    assert torch.allclose(plan.sum(1), torch.full((2, m), 1 / m, dtype=torch.float64))
    assert torch.allclose(plan.sum(2), torch.full((2, n), 1 / n, dtype=torch.float64))
    assert torch.allclose((plan * squares).sum((1, 2)), transport.wasserstein2(x, y))


def test_equal_sizes_are_the_assignment_problem():
    x, y = _cloud(0, 1, 68), _cloud(1, 1, 68)
    cost = torch.cdist(x, y)[0].square().numpy()
    assert transport.wasserstein2(x, y).item() == pytest.approx(cost[linear_sum_assignment(cost)].mean())


def test_obvious_distances():
    x = _cloud(0, 3, 9)
    shift = torch.tensor([0.3, -0.4], dtype=torch.float64)
    assert torch.allclose(transport.wasserstein2(x, x + shift), torch.full((3,), 0.25, dtype=torch.float64))
    assert torch.allclose(transport.wasserstein1(x, x + shift), torch.full((3,), 0.5, dtype=torch.float64))
    assert transport.wasserstein2(x, x[:, torch.randperm(9)]).abs().max() == 0
    diracs = torch.zeros(1, 1, 2), torch.ones(1, 4, 2)
    assert transport.wasserstein2(*diracs).item() == pytest.approx(2)


def test_matched_is_the_permutation_or_the_barycentric_projection():
    y = _cloud(0, 1, 12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(transport.matched(y[:, order] + 0.001, y), y[:, order])
    pairs = torch.tensor([[[0.0, 0.0], [0.0, 0.2], [1.0, 0.0], [1.0, 0.2]]])
    halves = transport.matched(torch.tensor([[[0.0, 0.1], [1.0, 0.1]]]), pairs)
    assert torch.allclose(halves, torch.tensor([[[0.0, 0.1], [1.0, 0.1]]]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_raises(bad: float):
    x, y = _cloud(0, 2, 5), _cloud(1, 2, 5)
    y[1, 3, 0] = bad
    for function in (transport.plan, transport.wasserstein1, transport.wasserstein2, transport.matched):
        for first, second in ((x, y), (y, x), (x, y[:, 1:])):
            with pytest.raises(ValueError, match="NaN"):
                function(first, second)
    with pytest.raises(ValueError, match="NaN"):
        transport.barycenter(y)


@pytest.mark.parametrize("kind", ["affine", "similarity"])
@pytest.mark.parametrize(("coupling", "m"), [("index", 7), ("ot", 7), ("ot", 9)])
def test_gradient_of_the_whole_barycenter_regularizer(kind: str, coupling: str, m: int):
    y = _cloud(1, 2, m)

    def terms(x: Tensor) -> Tensor:
        shift = transport.translation(x, y)
        source, target = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
        plan = transport.plan(source, target) if coupling == "ot" else None
        moved = source @ transport.affine(x, y, plan, kind=kind)
        warp = transport.wasserstein2(moved, target)
        return shift.square().sum(-1) + 2 * transport.wasserstein2(source, moved) + 3 * warp

    assert torch.autograd.gradcheck(terms, _cloud(0, 2, 7).requires_grad_())


def test_gradients_of_the_distances():
    x, y = _cloud(0, 2, 6).requires_grad_(), _cloud(1, 2, 8).requires_grad_()
    assert torch.autograd.gradcheck(transport.wasserstein2, (x, y))
    assert torch.autograd.gradcheck(transport.wasserstein1, (x, y))
    assert not transport.plan(x, y).requires_grad


def test_translation():
    assert torch.allclose(transport.translation(_cloud(0, 2, 5), _cloud(0, 2, 5) + 0.25), torch.tensor(0.25).double())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_affine_recovers_any_matrix_by_index(entries: list[float]):
    x = _cloud(0, 1, 10)
    matrix = torch.tensor(entries, dtype=torch.float64).view(1, 2, 2)
    assert torch.allclose(transport.affine(x, x @ matrix + 0.3, ridge=0.0), matrix, atol=1e-9)


@pytest.mark.parametrize("matrix", [_rotation(4), _rotation(-3), torch.tensor([[1.1, 0.0], [0.05, 0.9]]).double()])
def test_affine_recovers_small_deformations_under_transport(template: Tensor, matrix: Tensor):
    x = template[None] - template.mean(0)
    y = (x @ matrix)[:, torch.randperm(68, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(transport.affine(x, y, transport.plan(x, y), ridge=0.0), matrix, atol=1e-6)


def test_ridge_draws_collapsed_clouds_to_the_identity():
    point = torch.full((1, 5, 2), 0.5, requires_grad=True)
    line = torch.stack((torch.linspace(0, 1, 5), torch.zeros(5)), dim=-1)[None]
    target = _cloud(0, 1, 5).float()
    for kind in ("affine", "similarity"):
        found = transport.affine(point, target, kind=kind)
        assert torch.allclose(found, torch.eye(2))
        found.sum().backward()
        assert point.grad.isfinite().all()
        assert transport.affine(line, target, kind=kind).isfinite().all()


def test_similarity_recovers_itself_and_never_reflects():
    x = _cloud(0, 1, 10)
    carried = 1.7 * x @ _rotation(130) - 0.2
    assert torch.allclose(transport.similarity(x, carried), carried)
    mirrored = x * torch.tensor([-1.0, 1.0])
    assert torch.linalg.det(transport.affine(x, mirrored, ridge=0.0)).item() < 0
    assert torch.linalg.det(transport.affine(x, mirrored, ridge=0.0, kind="similarity")).item() >= 0


def test_similarity_is_the_least_squares_one():
    x, y = _cloud(0, 1, 10), _cloud(1, 1, 10)
    best = (transport.similarity(x, y) - y).square().sum()
    for degrees, scale in ((1, 1), (-1, 1), (0, 1.02), (0, 0.98)):
        centre = y.mean(1, keepdim=True)
        other = scale * (transport.similarity(x, y) - centre) @ _rotation(degrees) + centre
        assert (other - y).square().sum() > best


def test_barycenter_of_two_diracs_and_of_translates_is_the_midpoint():
    assert transport.barycenter(np.array([[[0.0, 0.0]], [[1.0, 0.5]]])).tolist() == [[0.5, 0.25]]
    shape = _cloud(0, 20)
    found = transport.barycenter(torch.stack((shape, shape + 0.2)))
    assert found.dtype == torch.float64
    assert torch.allclose(found, shape + 0.1)


def test_barycenter_keeps_the_order_and_stays_near_the_mean(faces: Tensor):
    found = transport.barycenter(faces)
    mean = faces.mean(0)
    assert (torch.cdist(found, mean).argmin(1) == torch.arange(68)).all()
    objective = [transport.wasserstein2(shape.expand_as(faces), faces).mean().item() for shape in (found, mean)]
    assert objective[0] <= objective[1]


@pytest.mark.parametrize("points", [30, 100])
def test_barycenter_of_another_size(faces: Tensor, points: int):
    found = transport.barycenter(faces[:10], points=points, iterations=5)
    assert found.shape == (points, 2)
    assert transport.wasserstein2(found[None], faces.mean(0)[None]).item() < 0.003


def test_float32_under_autocast():
    x, y = _cloud(0, 2, 12).float(), _cloud(1, 2, 12).float()
    calm = transport.affine(x, y), transport.wasserstein2(x, y), transport.matched(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = transport.affine(x, y), transport.wasserstein2(x, y), transport.matched(x, y)
    for first, second in zip(calm, mixed, strict=True):
        assert second.dtype == torch.float32
        assert torch.equal(first, second)


def _covariance(seed: int, size: int, rank: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, rank, generator=random, dtype=torch.float64)
    return factor @ factor.T


def test_the_gaussian_map_is_pots_and_carries_one_covariance_onto_the_other():
    source, target = _covariance(0, 5, 7), _covariance(1, 5, 7)
    T = transport.gaussian(source, target)
    theirs, _ = ot.gaussian.bures_wasserstein_mapping(np.zeros(5), np.zeros(5), source.numpy(), target.numpy())
    np.testing.assert_allclose(T, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(T @ source @ T, target)
    torch.testing.assert_close(transport.gaussian(source, 4 * source), 2 * torch.eye(5, dtype=torch.float64))


def test_the_gaussian_map_of_a_flat_cloud_is_finite():
    T = transport.gaussian(_covariance(0, 4, 2), torch.eye(4, dtype=torch.float64))
    assert torch.isfinite(T).all() and torch.linalg.matrix_rank(T, tol=1e-6) == 2
