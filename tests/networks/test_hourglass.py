"""E: a map per landmark and stack, near-uniform at the start, quick to learn."""

from math import log

import pytest
import torch
import torch.nn.functional as F

from brule.networks.hourglass import LandmarkEncoder

PAIRS = [(image, maps) for image in (64, 128, 256) for maps in (16, 32, 64, 128) if maps <= image]


@pytest.mark.parametrize(("image", "maps"), PAIRS)
def test_every_size(image, maps):
    with torch.no_grad():
        (logits,) = LandmarkEncoder(3, image, maps, width=12, depth=6)(torch.randn(1, 3, image, image))
    assert logits.shape == (1, 3, maps, maps)
    assert logits.is_contiguous()


@pytest.mark.parametrize("stacks", [1, 2, 4])
def test_one_answer_per_stack(stacks):
    answers = LandmarkEncoder(5, 64, 16, width=12, stacks=stacks, depth=2)(torch.randn(2, 3, 64, 64))
    assert [tuple(logits.shape) for logits in answers] == [(2, 5, 16, 16)] * stacks


def test_the_default_is_of_the_size_that_was_planned():
    count = sum(p.numel() for p in LandmarkEncoder(68, 64, 32).parameters())
    assert 1.0e6 < count < 1.5e6


def test_maps_start_near_uniform():
    with torch.no_grad():
        logits = LandmarkEncoder(68, 64, 32)(torch.randn(2, 3, 64, 64))[-1]
    log_probabilities = logits.flatten(2).log_softmax(-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
    assert entropy.min() > log(32 * 32) - 0.1
    assert logits.std((2, 3)).min() > 1e-3  # not exactly uniform: that would carry no gradient


def test_every_parameter_learns_with_all_stacks_supervised_and_the_last_alone():
    encoder = LandmarkEncoder(5, 64, 32, width=12, stacks=2, depth=3)
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    sum(logits.square().mean() for logits in encoder(images)).backward()
    for name, tensor in [*encoder.named_parameters(), ("images", images)]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


def test_images_of_a_batch_do_not_meet():
    encoder, images = LandmarkEncoder(5, 64, 32, width=16, depth=2), torch.randn(3, 3, 64, 64)
    together = encoder(images)[-1]
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(encoder(images[order])[-1], together[order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder(images[:1])[-1], together[:1], atol=1e-5, rtol=1e-4)


def test_training_and_evaluation_agree():
    encoder, images = LandmarkEncoder(5, 64, 32, width=16, depth=2), torch.randn(2, 3, 64, 64)
    assert torch.equal(encoder.train()(images)[-1], encoder.eval()(images)[-1])


def test_it_sees_the_whole_image():
    encoder = LandmarkEncoder(1, 64, 32, width=16)
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(images)[-1][0, 0, 2, 2], images)
    assert gradient[0, :, -8:, -8:].abs().sum() > 0


def test_bfloat16_answers_like_float32():
    encoder, images = LandmarkEncoder(5, 64, 32, width=16), torch.randn(2, 3, 64, 64)
    exact = encoder(images)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(images)[-1]
    assert (rough - exact).abs().mean() < 0.05 * exact.std()


def test_it_overfits_a_batch_of_coloured_dots():
    size, maps, batch = 64, 16, 6
    points = 0.15 + 0.7 * torch.rand(batch, 2, 2)
    axis = (torch.arange(size) + 0.5) / size
    gap = ((axis - points[..., None]) * size / 3).square()
    images = torch.zeros(batch, 3, size, size)
    images[:, :2] = 2 * torch.exp(-0.5 * (gap[:, :, 1, :, None] + gap[:, :, 0, None, :]))
    encoder = LandmarkEncoder(2, size, maps, width=16, depth=2)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    target = (points * maps).long()
    for _ in range(40):
        logits = encoder(images - 1)[-1].flatten(2)
        loss = F.cross_entropy(logits.flatten(0, 1), (target[..., 1] * maps + target[..., 0]).flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = logits.argmax(-1)
    found = torch.stack([found % maps, found // maps], -1)
    assert loss.item() < 1.0 < 0.5 * log(maps * maps)
    assert (found - target).abs().max() <= 1
