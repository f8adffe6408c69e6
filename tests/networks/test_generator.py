"""G follows its heatmaps where they are, and its style everywhere."""

import pytest
import torch

from brule.networks.generator import Generator

PAIRS = [(image, maps) for image in (64, 128, 256) for maps in (16, 32, 64, 128) if maps <= image]


def dots(points: torch.Tensor, size: int) -> torch.Tensor:
    """(B, K, 2) in [0, 1], (x, y) → Gaussians of peak 1 and σ = 1 pixel, (B, K, size, size)."""
    axis = (torch.arange(size) + 0.5) / size
    gap = ((axis - points[..., None]) * size).square()  # (B, K, 2, size)
    return torch.exp(-0.5 * (gap[:, :, 1, :, None] + gap[:, :, 0, None, :]))


def small(landmarks: int = 5, style_size: int = 6) -> Generator:
    return Generator(landmarks, 64, 32, style_size, 8, 16)


@pytest.mark.parametrize(("image", "maps"), PAIRS)
def test_every_size(image, maps):
    generator = Generator(3, image, maps, 4, 4, 4)
    out = generator(torch.rand(1, 3, maps, maps), torch.randn(1, 4))
    assert out.shape == (1, 3, image, image)
    assert out.is_contiguous()


@pytest.mark.parametrize("maps", [16, 32, 64])
def test_moving_a_landmark_changes_the_image_where_it_moved(maps):
    generator, style = Generator(8, 64, maps, 6, 16, 32), torch.randn(8, 6)
    points = 0.1 + 0.8 * torch.rand(8, 8, 2)
    points[:, 0] = torch.tensor([0.2, 0.25])
    moved = points.clone()
    moved[:, 0] += 0.05
    change = (generator(dots(moved, maps), style) - generator(dots(points, maps), style)).abs().mean((0, 1))
    near, far = change[8:24, 6:22].mean(), change[40:, 40:].mean()
    assert near > 3 * far


def test_one_landmark_is_told_from_another():
    generator, style = small(), torch.randn(1, 6)
    points = torch.rand(1, 5, 2)
    swapped = points[:, [1, 0, 2, 3, 4]]
    assert (generator(dots(points, 32), style) - generator(dots(swapped, 32), style)).abs().mean() > 0.01


def test_style_changes_the_image():
    generator, condition = small(), dots(torch.rand(1, 5, 2), 32).expand(2, -1, -1, -1)
    first, second = generator(condition, torch.randn(2, 6))
    assert (first - second).abs().mean() > 0.01


def test_one_style_is_the_same_style_in_every_layer():
    generator, condition, style = small(), dots(torch.rand(2, 5, 2), 32), torch.randn(2, 6)
    repeated = style[:, None].expand(-1, generator.layers, -1)
    assert torch.equal(generator(condition, style), generator(condition, repeated))


def test_every_layer_s_style_is_used_and_coarse_ones_first():
    generator, condition = small(), dots(torch.rand(1, 5, 2), 32)
    styles = torch.randn(1, generator.layers, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator(condition, styles).square().sum(), styles)
    assert (gradient.abs().sum((0, 2)) > 0).all()
    with pytest.raises(ValueError, match="takes 10"):
        generator(condition, styles[:, 1:])


def test_the_last_layer_s_style_is_a_change_of_colour_alone():
    generator, condition = small(), dots(torch.rand(1, 5, 2), 32)
    styles = torch.randn(1, generator.layers, 6)
    other = styles.clone()
    other[:, -1] = 0
    generator.to_rgb[-1].weight.data.zero_()
    assert torch.equal(generator(condition, styles), generator(condition, other))


def test_images_of_a_batch_do_not_meet():
    generator, condition, style = small(), dots(torch.rand(3, 5, 2), 32), torch.randn(3, 6)
    alone = torch.cat([generator(condition[i : i + 1], style[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(generator(condition, style), alone, atol=1e-5, rtol=1e-4)


def test_gradients_reach_every_parameter_and_both_inputs():
    generator = small()
    condition = dots(torch.rand(2, 5, 2), 32).requires_grad_()
    style = torch.randn(2, 6, requires_grad=True)
    generator(condition, style).square().mean().backward()
    for name, tensor in [*generator.named_parameters(), ("condition", condition), ("style", style)]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


def test_start_has_the_scale_of_images():
    out = Generator(68, 64, 32, 64, 24, 96)(dots(torch.rand(4, 68, 2), 32), torch.randn(4, 64))
    assert 0.3 < out.std() < 6


def test_bfloat16_answers_like_float32():
    generator, condition, style = small(), dots(torch.rand(2, 5, 2), 32), torch.randn(2, 6)
    exact = generator(condition, style)
    with torch.autocast("cpu", torch.bfloat16):
        rough = generator(condition, style)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.03 * exact.abs().mean()
