"""The probe on encoders whose answers are known."""

import numpy as np
import pytest
import torch

from brule.maths import heatmaps
from brule.maths.monitors import probe

X_B = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.5, 0.7]])


def brightest(images: torch.Tensor) -> torch.Tensor:
    """An encoder that finds the single bright dot: every channel answers it, offset to its own place in X_b."""
    dot = heatmaps.coordinates((images[:, :1] + 1) / (images[:, :1] + 1).sum((-2, -1), keepdim=True))
    offsets = torch.tensor(X_B - X_B.mean(0), dtype=torch.float32)
    return heatmaps.sparse(dot + 0.2 * offsets, 64).clamp_min(1e-20).log()


def dots(count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    places = 0.4 + 0.2 * torch.rand(count, 1, 2, generator=random)
    return 2 * heatmaps.condition(places, 64, 2.0).expand(-1, 3, -1, -1) - 1


def test_an_encoder_that_follows_the_image_is_equivariant_and_a_constant_one_is_not() -> None:
    images = [dots(8), dots(4)]
    found, follows = probe(brightest, images, X_B, None)
    _, constant = probe(lambda I: brightest(dots(1)).expand(len(I), -1, -1, -1), images, X_B, None)
    assert found.shape == (12, 4, 2)
    assert follows["equivariance"] < 0.05 < constant["equivariance"]
    assert follows["entropy"] == pytest.approx(2.838, abs=0.01)


def test_the_same_deformations_every_time() -> None:
    assert probe(brightest, [dots(4)], X_B, None)[1] == probe(brightest, [dots(4)], X_B, None)[1]


def test_no_images_no_monitors() -> None:
    found, monitors = probe(brightest, [], X_B, None)
    assert found.shape == (0, 4, 2) and monitors == {}
