"""Scores against numbers worked out by hand; each monitor against the collapse it watches for."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from brule.errors import BruleError
from brule.maths import metrics, monitors, transport

EYES = (36, 45)


def test_nme_by_hand():
    truth = np.array([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]])
    prediction = truth + np.array([[[0.3, 0.4], [0.0, 0.1]], [[0.0, 0.0], [0.4, 0.0]]])
    scale = metrics.normaliser(truth, (0, 1))
    assert scale.tolist() == [2.0, 4.0]
    assert metrics.nme(prediction, truth, scale) == pytest.approx([15.0, 5.0])
    assert metrics.nme(torch.tensor(prediction), torch.tensor(truth).float(), scale) == pytest.approx([15.0, 5.0])


def test_normaliser_by_the_box_and_its_failure():
    truth = np.array([[[0.1, 0.1], [0.4, 0.3], [0.2, 0.5]]])
    assert metrics.normaliser(truth, None) == pytest.approx([0.5])
    with pytest.raises(BruleError, match="landmarks 1 and 1 coincide in 1 shapes"):
        metrics.normaliser(truth, (1, 1))


def test_w1_ignores_names_and_is_not_halved():
    truth = np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]])
    swapped = truth[:, [2, 0, 1]] + [0.0, 0.1]
    assert metrics.w1_score(swapped, truth, [2.0]) == pytest.approx([5.0])
    assert metrics.w1_score(truth[:, :1], truth, [1.0]) == pytest.approx([100.0])
    with pytest.raises(ValueError, match="NaN"):
        metrics.w1_score(truth * math.nan, truth, [1.0])


def test_ced_auc_and_failures_by_hand():
    errors = [2.0, 4.0, 6.0, 12.0, math.nan]
    assert metrics.ced(errors, [1.9, 2.0, 6.0, 100.0]).tolist() == [0.0, 0.2, 0.6, 0.8]
    assert metrics.auc(errors) == pytest.approx((0.75 + 0.5 + 0.25) / 5)
    assert metrics.auc([0.0, 0.0]) == 1
    assert metrics.failure_rate(errors, 8.0) == pytest.approx(0.4)
    assert metrics.failure_rate(errors, 2.0) == pytest.approx(0.8)
    thresholds = np.linspace(0, 8, 8001)
    assert metrics.auc(errors) == pytest.approx(metrics.ced(errors, thresholds).mean(), abs=1e-3)


def test_floor_and_oracles(faces: Tensor):
    mean = faces.mean(0)
    scale = metrics.normaliser(faces, EYES)
    bottom = metrics.floor(faces, mean, scale)
    alike = metrics.oracle_similarity(faces, mean, scale)
    affine = metrics.oracle_affine(faces, mean, scale)
    assert bottom.shape == alike.shape == affine.shape == (60,)
    assert bottom.mean() > alike.mean() > affine.mean() > 1
    assert metrics.floor(mean[None], mean, [0.1]).tolist() == [0.0]

    angle = torch.tensor(2.0).double()
    turn = torch.stack((angle.cos(), angle.sin(), -angle.sin(), angle.cos())).view(2, 2)
    turned = (1.3 * mean @ turn)[None]
    assert metrics.oracle_similarity(turned, mean, [1.0]) == pytest.approx([0.0], abs=1e-7)
    sheared = (mean @ torch.tensor([[1.0, 0.4], [0.0, 0.7]]).double() + 0.1)[None]
    assert metrics.oracle_affine(sheared, mean, [1.0]) == pytest.approx([0.0], abs=1e-7)
    assert metrics.oracle_similarity(sheared, mean, [1.0])[0] > 1


def _noise(like: Tensor, deviation: float) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return deviation * torch.randn(like.shape, generator=generator, dtype=torch.float64)


def _centred(points: Tensor) -> Tensor:
    return points - points.mean(1, keepdim=True)


def test_healthy_predictions_raise_no_alarm(faces: Tensor):
    watched = monitors.values(
        faces + _noise(faces, 0.002),
        transport.barycenter(faces),
        EYES,
        warped=faces + _noise(faces, 0.004),
        expected=faces,
        entropies=np.full((60, 68), 3.0),
    )
    assert set(watched) == set(monitors.LIMITS)
    assert monitors.alarms(watched, watched) == []
    assert watched["spread"] == pytest.approx(1, abs=0.05)
    assert watched["determinant"] == pytest.approx(1, abs=0.1)
    assert watched["agreement"] > 0.95


def healthy(faces: Tensor) -> dict[str, float]:
    return monitors.values(faces, faces.mean(0), EYES)


COLLAPSES = {
    "spread": lambda faces: 0.5 * _centred(faces) + 0.5,
    "nearest": lambda faces: faces[:, torch.arange(68) // 2 * 2],
    "residual": lambda faces: faces.mean(0) + _noise(faces[:, :1], 0.05),
    "agreement": lambda faces: faces.flip(1),
    "determinant": lambda faces: faces * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]),
}


@pytest.mark.parametrize("name", COLLAPSES)
def test_each_collapse_fires_its_alarm(name: str, faces: Tensor):
    sentences = monitors.alarms(monitors.values(COLLAPSES[name](faces), faces.mean(0), EYES), healthy(faces))
    assert any(sentence.startswith(f"{name} is ") for sentence in sentences)
    assert all("look at" in sentence for sentence in sentences)


def test_the_barycenter_everywhere_fires_the_residual_alone(faces: Tensor):
    sentences = monitors.alarms(monitors.values(COLLAPSES["residual"](faces), faces.mean(0), EYES), healthy(faces))
    assert len(sentences) == 1


def test_everything_at_the_centre_fires_spread_and_nearest(faces: Tensor):
    fired = monitors.alarms(monitors.values(0.5 + _noise(faces, 0.001), faces.mean(0), EYES), healthy(faces))
    assert {"spread", "nearest"} <= {sentence.split()[0] for sentence in fired}


def test_equivariance_and_entropy_alarms(faces: Tensor):
    eyes = metrics.normaliser(faces.mean(0), EYES)
    moved = faces + torch.tensor([0.0, 0.1 * float(eyes)])
    flat = np.full((60, 68), 6.9)
    watched = monitors.values(faces, faces.mean(0), EYES, warped=moved, expected=faces, entropies=flat)
    assert watched["equivariance"] == pytest.approx(0.1)
    assert watched["entropy"] == pytest.approx(6.9)
    assert [sentence.split()[0] for sentence in monitors.alarms(watched, healthy(faces))] == ["equivariance", "entropy"]


def test_alarms_name_value_limit_and_parameter():
    assert monitors.alarms({"entropy": 6.123}, {}) == [
        "entropy is 6.12, above 5: heatmaps stay spread out; look at loss.c7"
    ]
    assert monitors.alarms({"spread": 0.9}, {}) == []
    assert monitors.alarms({"spread": math.nan}, {})[0].startswith("spread is nan")


def test_three_landmarks_have_no_residual():
    shape = torch.tensor([[0.2, 0.2], [0.8, 0.2], [0.5, 0.8]])
    watched = monitors.values(shape.expand(4, -1, -1), shape, None)
    assert "residual" not in watched
    assert monitors.alarms(watched, watched) == []


def test_a_rigid_object_is_no_collapse():
    """Where true shapes differ by pose alone, the barycenter moved about is the right answer."""
    shape = torch.rand(9, 2, generator=torch.Generator().manual_seed(0))
    rigid = shape + 0.1 * torch.rand(20, 1, 2, generator=torch.Generator().manual_seed(1))
    watched = monitors.values(rigid, shape, None)
    assert monitors.alarms(watched, watched) == []
