"""Light changes: within range, independent per image, repeatable, and blind to geometry."""

import pytest
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from brule.maths import photometric
from brule.maths.photometric import cutout, jitter


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    return (torch.rand(1, 3, 32, 32, generator=_seeded()) * 2 - 1).expand(8, -1, -1, -1)


def test_jitter_stays_in_range_and_differs_per_image(images: Tensor):
    changed = jitter(images, 1.0, _seeded())
    assert changed.shape == images.shape
    assert changed.min() >= -1 and changed.max() <= 1
    distance = torch.cdist(changed.flatten(1), changed.flatten(1)) + 1e3 * torch.eye(8)
    assert distance.min() > 1


def test_jitter_is_deterministic_and_zero_strength_is_the_identity(images: Tensor):
    assert torch.equal(jitter(images, 0.5, _seeded(3)), jitter(images, 0.5, _seeded(3)))
    assert not torch.equal(jitter(images, 0.5, _seeded(3)), jitter(images, 0.5, _seeded(4)))
    assert torch.equal(jitter(images, 0.0, _seeded()), images)


def test_weak_jitter_changes_little_and_strong_much(images: Tensor):
    change = [(jitter(images, strength, _seeded()) - images).abs().mean().item() for strength in (0.02, 0.2, 1.0)]
    assert change[0] < 0.03 < change[1] < change[2]


def test_jitter_moves_no_edge():
    step = torch.full((4, 3, 32, 32), -0.5)
    step[..., 16:] = 0.5
    changed = jitter(step, 0.4, _seeded(1)).mean((1, 2))
    assert (changed.diff(dim=-1).argmax(-1) == 15).all()


@pytest.mark.parametrize(("size", "taps", "sigma"), [(32, 3, 0.5), (64, 5, 1.0), (256, 17, 4.0)])
def test_the_blur_is_kornias(size: int, taps: int, sigma: float):
    images = torch.rand(2, 3, size, size, generator=_seeded())
    expected = gaussian_blur2d(images, (taps, taps), (sigma, sigma), "reflect")
    torch.testing.assert_close(photometric._blurred(images), expected)


def test_cutout_blanks_one_flat_rectangle_in_the_chosen_images():
    images = (torch.rand(200, 3, 32, 32, generator=_seeded()) * 2 - 1).contiguous()
    changed = cutout(images, 0.3, _seeded(1))
    touched = (changed != images).any(1)
    assert 0.2 < touched.flatten(1).any(1).float().mean() < 0.4
    for image, mask in zip(changed, touched, strict=True):
        if mask.any():
            rows, columns = mask.any(1), mask.any(0)
            assert mask.sum() == rows.sum() * columns.sum()
            assert (image[:, mask] == image[:, mask][:, :1]).all()


def test_cutout_probabilities_zero_and_one():
    images = torch.zeros(64, 3, 32, 32)
    assert torch.equal(cutout(images, 0.0, _seeded()), images)
    assert (cutout(images, 1.0, _seeded()) != 0).flatten(1).any(1).all()
