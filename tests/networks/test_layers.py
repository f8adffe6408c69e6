"""Layers against their definitions: the modulated convolution as a grouped one, the folded blur as two passes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brule.networks.layers import (
    EqualConv,
    EqualLinear,
    MinibatchDeviation,
    ModulatedConv,
    ToRGB,
    channels,
    convolve,
    halvings,
    pixel_norm,
    resolutions,
)


def grouped(layer: ModulatedConv, x: Tensor, style: Tensor) -> Tensor:
    """The definition: every image's own weights, demodulated, in B groups of one convolution; the blur as a pass."""
    batch, inputs, height, width = x.shape
    w = layer.weight[None] * layer.affine(style)[:, None, :, None, None]
    w = w / w.square().sum((2, 3, 4), keepdim=True).sqrt()  # (B, O, I, 3, 3)
    outputs, x = w.shape[1], x.reshape(1, batch * inputs, height, width)
    if layer.resample == "up":
        kernels = w.flip(3, 4).transpose(1, 2).reshape(batch * inputs, outputs, 3, 3)
        y = 4 * F.avg_pool2d(F.conv_transpose2d(x, kernels, stride=2, groups=batch), 2, stride=1)
    else:
        y = F.conv2d(x, w.reshape(batch * outputs, inputs, 3, 3), padding=1, groups=batch)
        y = F.avg_pool2d(y, 2) if layer.resample == "down" else y
    y = y.reshape(batch, outputs, *y.shape[2:]) + layer.bias[:, None, None]
    return F.leaky_relu(y, 0.2) * 2**0.5


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_modulated_convolution_is_the_grouped_convolution(resample):
    layer = ModulatedConv(5, 7, 6, resample=resample).double()
    torch.nn.init.normal_(layer.bias)
    x, style = torch.randn(3, 5, 8, 8, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x, style), grouped(layer, x, style), atol=1e-6, rtol=1e-6)


def test_demodulation_gives_unit_variance_whatever_the_style_s_size():
    layer = ModulatedConv(32, 64, 8)
    x = torch.randn(4, 32, 32, 32)
    for size in (0.1, 1.0, 50.0):
        y = layer(x, size * torch.randn(4, 8))
        before = torch.where(y > 0, y, y / 0.2) / 2**0.5  # undo the activation
        torch.testing.assert_close(before.std((2, 3)), torch.ones(4, 64), atol=0.15, rtol=0)


def test_modulation_is_twice_differentiable():
    layer = ModulatedConv(2, 2, 3, resample="up").double()
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    style = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x, style))
    assert torch.autograd.gradgradcheck(layer, (x, style))


def test_to_rgb_is_its_sum():
    layer = ToRGB(5, 4)
    x, style = torch.randn(2, 5, 3, 6), torch.randn(2, 4)
    expected = torch.einsum("bchw,bc,cr->brhw", x, layer.affine(style), layer.weight) / 5**0.5
    torch.testing.assert_close(layer(x, style), expected)


def test_downsampling_is_convolution_then_blur():
    x, weight, bias = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3), torch.randn(4)
    expected = F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
    torch.testing.assert_close(convolve(x, weight, bias, "down"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_resampling_keeps_half_pixel_centres(resample):
    x, weight = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 3, 3)
    mirrored = convolve(x.flip(3), weight.flip(3), None, resample)
    torch.testing.assert_close(mirrored, convolve(x, weight, None, resample).flip(3), atol=1e-5, rtol=1e-5)


def test_equalised_layers_keep_unit_variance():
    x = torch.randn(512, 64)
    for layer in (EqualLinear(64, 64), EqualLinear(64, 64, rate=0.01)):
        assert layer(x).std().item() == pytest.approx(1, abs=0.1)
    maps = torch.randn(4, 32, 16, 16)
    assert EqualConv(32, 32, 3, activate=False)(maps)[..., 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.1)
    assert EqualConv(32, 32, 1)(maps).square().mean().item() == pytest.approx(1.04, abs=0.15)


def test_learning_rate_of_a_layer_scales_its_steps():
    slow, plain = EqualLinear(4, 2, rate=0.01), EqualLinear(4, 2)
    plain.weight.data = slow.weight.data * 0.01
    x = torch.randn(3, 4)
    torch.testing.assert_close(slow(x), plain(x))
    moved = []
    for layer in (slow, plain):
        before = layer(x)
        with torch.no_grad():
            layer.weight += 1.0
        moved.append((layer(x) - before).norm().item())
    assert moved[0] == pytest.approx(0.01 * moved[1], rel=1e-3)


def test_deviation_is_zero_without_variety_and_grows_with_it():
    layer, image = MinibatchDeviation(), torch.randn(1, 3, 4, 4)
    assert layer(image.expand(6, -1, -1, -1))[:, 3].max() < 1e-3
    varied = torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(layer(3 * varied)[:, 3], 3 * layer(varied)[:, 3], atol=1e-3, rtol=1e-3)
    assert layer(varied)[:, 3].min() > 0.1


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 7, 8])
def test_deviation_takes_any_batch_and_no_place_in_it_is_special(batch):
    layer, x = MinibatchDeviation(), torch.randn(batch, 2, 4, 4)
    y = layer(x)
    assert y.shape == (batch, 3, 4, 4)
    assert torch.equal(y[:, :2], x)
    torch.testing.assert_close(layer(x.roll(1, 0)), y.roll(1, 0))
    if batch > 1:
        assert y[:, 2].min() > 0.1


def test_deviation_of_a_pair_is_half_their_distance():
    x = torch.zeros(2, 1, 4, 4)
    x[1] = 3.0
    torch.testing.assert_close(MinibatchDeviation()(x)[:, 1], torch.full((2, 4, 4), 1.5), atol=1e-6, rtol=1e-6)


def test_pixel_norm_has_unit_mean_square():
    z = pixel_norm(7 * torch.randn(5, 16))
    torch.testing.assert_close(z.square().mean(1), torch.ones(5))


def test_sizes():
    assert resolutions(64) == [4, 8, 16, 32, 64]
    assert (halvings(64, 64), halvings(256, 16)) == (0, 4)
    assert channels(64, 24, 96) == {4: 96, 8: 96, 16: 96, 32: 48, 64: 24}
    with pytest.raises(ValueError, match="image_size = 96"):
        resolutions(96)
    with pytest.raises(ValueError, match="map_size = 128"):
        halvings(64, 128)
