"""L → X_L, L_sp, H: closed-form entropies, the identity of soft-argmax after rendering, extreme logits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brule.maths import heatmaps


def test_entropies_of_the_gaussian_and_of_the_uniform_map():
    gaussian = heatmaps.sparse(torch.tensor([[[0.5, 0.4]]]), 64)
    assert heatmaps.entropy(gaussian.clamp(min=1e-38).log()).item() == pytest.approx(2.838, abs=1e-3)
    assert heatmaps.cross_entropy(gaussian.clamp(min=1e-38).log(), gaussian).item() == pytest.approx(2.838, abs=1e-3)
    uniform = heatmaps.log_probabilities(torch.zeros(2, 3, 64, 64))
    assert torch.allclose(heatmaps.entropy(uniform), torch.full((2, 3), 8.318), atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.15, 0.85), st.floats(0.15, 0.85), st.sampled_from([32, 48, 64]), st.sampled_from([1.0, 1.5]))
def test_coordinates_undo_sparse(x: float, y: float, size: int, sigma: float):
    points = torch.tensor([[[x, y]]], dtype=torch.float64)
    maps = heatmaps.sparse(points, size, sigma)
    assert maps.sum().item() == pytest.approx(1)
    assert torch.allclose(heatmaps.coordinates(maps), points, atol=0.005 / size)


def test_coordinates_of_one_pixel_are_its_centre():
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 2, 5] = 1
    assert heatmaps.coordinates(maps)[0, 0].tolist() == [5.5 / 8, 2.5 / 8]


def test_a_point_outside_the_frame_keeps_mass_one_at_the_border():
    maps = heatmaps.sparse(torch.tensor([[[1.7, -0.6]]]), 32)
    assert maps.sum().item() == pytest.approx(1)
    assert maps[0, 0, 0, 31].item() > 0.99


def test_condition_is_the_same_gaussian_with_peak_one():
    point = torch.tensor([[[10.5 / 32, 20.5 / 32]]])
    condition = heatmaps.condition(point, 32, 1.5)
    assert condition[0, 0, 20, 10].item() == pytest.approx(1)
    assert condition[0, 0, 20, 13].item() == pytest.approx(math.exp(-(3**2) / (2 * 1.5**2)), rel=1e-4)
    sparse = heatmaps.sparse(point, 32, 1.5)
    assert torch.allclose(condition / condition.sum(), sparse, atol=1e-6)


@pytest.mark.parametrize("render", [heatmaps.sparse, lambda X, size: heatmaps.condition(X, size, 1.0)])
def test_rendering_gives_no_denormal_number_and_hides_no_nan(render):
    maps = render(torch.tensor([[[0.1, 0.2], [0.5, 0.9], [float("nan"), 0.5]]]), 64)
    shown = maps[0, :2]
    assert (shown > 0).any() and shown[shown > 0].min() > torch.finfo(torch.float32).tiny
    assert maps[0, 2].isnan().all()


def test_rendering_is_differentiable():
    points = torch.tensor([[[0.31, 0.62]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: heatmaps.sparse(x, 8), points)
    assert torch.autograd.gradcheck(lambda x: heatmaps.condition(x, 8, 1.5), points)


def test_cross_entropy_is_least_at_the_target_and_flows_to_the_prediction_only():
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = heatmaps.sparse(torch.full((2, 3, 2), 0.5), 16).requires_grad_()
    loss = heatmaps.cross_entropy(heatmaps.log_probabilities(logits), target)
    loss.backward()
    assert target.grad is None
    expected = (logits.detach().flatten(2).softmax(-1).view_as(logits) - target.detach()) / 6
    assert torch.allclose(logits.grad, expected, atol=1e-6)
    assert loss > heatmaps.entropy(target.detach().clamp(min=1e-38).log()).mean()


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_logits_have_a_finite_gradient(scale: float):
    logits = (scale * torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))).requires_grad_()
    log_map = heatmaps.log_probabilities(logits)
    loss = heatmaps.cross_entropy(log_map, heatmaps.sparse(torch.full((1, 2, 2), 0.5), 16))
    (loss + heatmaps.entropy(log_map).mean()).backward()
    assert logits.grad.isfinite().all()


def test_full_precision_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = torch.randn(1, 2, 16, 16).bfloat16()
        log_map = heatmaps.log_probabilities(logits)
        points = heatmaps.coordinates(log_map.exp())
    assert log_map.dtype == points.dtype == torch.float32
    assert torch.equal(log_map, heatmaps.log_probabilities(logits.float()))
