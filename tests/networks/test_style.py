"""S and S_o."""

import pytest
import torch

from brule.networks.style import TRUNCATION, NoiseToStyle, StyleEncoder


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_style_per_image(size):
    assert StyleEncoder(size, 7, 4)(torch.randn(2, 3, size, size)).shape == (2, 7)


def test_noise_becomes_styles_that_differ_and_ignore_its_length():
    network, z = NoiseToStyle(16, 8, 4), torch.randn(64, 16)
    styles = network(z)
    assert styles.shape == (64, 8)
    assert styles.std(0).mean() > 0.2
    torch.testing.assert_close(network(5 * z), styles, atol=1e-4, rtol=1e-4)


def test_styles_start_with_unit_scale():
    assert 0.5 < NoiseToStyle(64, 64, 4)(torch.randn(64, 64)).square().mean().sqrt() < 2
    assert StyleEncoder(64, 64, 24)(torch.randn(16, 3, 64, 64)).square().mean().sqrt() < 2


def test_styles_of_samples_are_the_same_ones_and_lie_closer_to_their_mean():
    network = NoiseToStyle(16, 8, 4)
    few, many = network.truncated(3), network.truncated(300)
    torch.testing.assert_close(network.truncated(3), few, rtol=0, atol=0)
    torch.testing.assert_close(many[:3], few)
    plain = network(torch.randn(4000, 16))
    torch.testing.assert_close(many.std(0).mean(), TRUNCATION * plain.std(0).mean(), rtol=0.1, atol=0)
    torch.testing.assert_close(many.mean(0), plain.mean(0), rtol=0, atol=0.15)
    noise = torch.randn(256, 16, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(network.truncated(3, truncation=1.0, seed=7), network(noise)[:3].detach())
    same = network.truncated(3, truncation=0.0, seed=7)
    torch.testing.assert_close(same[:1].expand(3, -1), same)


def test_style_tells_colours_apart_but_not_places():
    encoder = StyleEncoder(64, 8, 8)
    images = torch.zeros(3, 3, 64, 64)
    images[0, :, 16:32, 16:32] = 1.0
    images[1, :, 32:48, 32:48] = 1.0  # the same square elsewhere
    images[2, 0, 16:32, 16:32] = 1.0  # the same place, another colour
    first, elsewhere, recoloured = encoder(images)
    torch.testing.assert_close(first, elsewhere, atol=1e-5, rtol=1e-4)
    assert (first - recoloured).abs().max() > 1e-3


@pytest.mark.parametrize("network", [NoiseToStyle(6, 5, 3), StyleEncoder(64, 5, 4)], ids=["noise", "image"])
def test_gradients_reach_every_parameter(network):
    x = torch.randn(2, 6) if isinstance(network, NoiseToStyle) else torch.randn(2, 3, 64, 64)
    network(x.requires_grad_()).square().sum().backward()
    for name, tensor in [*network.named_parameters(), ("input", x)]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name
