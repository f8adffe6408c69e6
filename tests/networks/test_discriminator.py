"""D: any batch, no order in it, and a gradient that can itself be differentiated (R1)."""

import pytest
import torch

from brule.networks.discriminator import Discriminator

PAIRS = [(image, maps) for image in (64, 128, 256) for maps in (16, 32, 64, 128) if maps <= image]


def inputs(batch: int, **kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, 3, 64, 64, **kind), torch.rand(batch, 5, 32, 32, **kind)


def r1(discriminator: Discriminator, images: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images, condition).sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


@pytest.mark.parametrize(("image", "maps"), PAIRS)
def test_every_size(image, maps):
    discriminator = Discriminator(3, image, maps, 4, 4)
    assert discriminator(torch.randn(2, 3, image, image), torch.rand(2, 3, maps, maps)).shape == (2,)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 6])
def test_every_batch(batch):
    assert Discriminator(5, 64, 32, 4, 8)(*inputs(batch)).shape == (batch,)


def test_the_order_of_a_batch_does_not_matter():
    discriminator, (images, condition) = Discriminator(5, 64, 32, 8, 16), inputs(4)
    order = torch.tensor([2, 0, 3, 1])
    expected = discriminator(images, condition)[order]
    torch.testing.assert_close(discriminator(images[order], condition[order]), expected, atol=1e-5, rtol=1e-4)


def test_image_and_landmarks_both_count():
    discriminator, (images, condition) = Discriminator(5, 64, 32, 8, 16), inputs(2)
    logits = discriminator(images, condition)
    assert (discriminator(images.flip(0), condition) - logits).abs().min() > 1e-3
    assert (discriminator(images, condition.flip(0)) - logits).abs().min() > 1e-3


def test_one_landmark_out_of_many_is_heard():
    discriminator, images = Discriminator(68, 64, 32, 8, 16), torch.randn(1, 3, 64, 64)
    condition = torch.zeros(2, 68, 32, 32)
    condition[1, 7, 15:18, 15:18] = 1.0
    without, with_dot = discriminator(images.expand(2, -1, -1, -1), condition)
    assert (with_dot - without).abs() > 1e-3


def test_gradients_reach_every_parameter_and_both_inputs():
    discriminator, (images, condition) = Discriminator(5, 64, 32, 4, 8), inputs(3)
    images.requires_grad_()
    condition.requires_grad_()
    discriminator(images, condition).square().sum().backward()
    for name, tensor in [*discriminator.named_parameters(), ("images", images), ("condition", condition)]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


def test_r1_has_the_gradient_that_finite_differences_find():
    discriminator = Discriminator(5, 64, 32, 4, 8).double()
    images, condition = inputs(2, dtype=torch.float64)
    parameters = [p for p in discriminator.parameters() if p.dim() > 1]
    gradients = torch.autograd.grad(r1(discriminator, images, condition), parameters)
    directions = [torch.randn_like(p) for p in parameters]
    expected = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    step, values = 1e-6, []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += sign * step * direction
        values.append(r1(discriminator, images, condition))
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), expected, rtol=1e-4, atol=0)


def test_bfloat16_answers_like_float32():
    discriminator, (images, condition) = Discriminator(5, 64, 32, 8, 16), inputs(4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = discriminator(images, condition)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, discriminator(images, condition), atol=0.1, rtol=0.1)
