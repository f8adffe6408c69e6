"""Bytes to numbers and back."""

import numpy as np
import torch

from brule.maths.images import shrunk, to_tensor, to_uint8


def test_every_level_of_every_channel_comes_back() -> None:
    images = np.random.default_rng(0).permutation(np.tile(np.arange(256, dtype=np.uint8), 6)).reshape(2, 16, 16, 3)
    numbers = to_tensor(images, torch.device("cpu"))
    assert numbers.shape == (2, 3, 16, 16)
    assert numbers.is_contiguous(memory_format=torch.channels_last)
    assert (numbers.min(), numbers.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(numbers), images)


def test_the_middle_is_zero_and_channels_keep_their_place() -> None:
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, 1, 2, 0] = 255
    numbers = to_tensor(image, torch.device("cpu"))
    assert numbers[0, 0, 1, 2] == 1
    assert numbers.sum() == 1 - (numbers.numel() - 1)


def test_what_lies_outside_is_cut_and_what_lies_between_goes_to_the_nearest() -> None:
    numbers = torch.tensor([-7.0, 7.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1]).view(4, 1, 1, 1).expand(4, 3, 1, 1)
    assert to_uint8(numbers)[:, 0, 0, 0].tolist() == [0, 255, 0, 1]
    assert to_uint8(numbers.bfloat16())[:2, 0, 0, 0].tolist() == [0, 255]


def test_a_read_only_array_is_read_and_left_alone() -> None:
    images = np.full((1, 2, 2, 3), 9, np.uint8)
    images.flags.writeable = False
    to_tensor(images, torch.device("cpu")).zero_()
    assert (images == 9).all()


def test_a_smaller_image_has_the_means_of_the_pixels_it_replaces() -> None:
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    assert torch.equal(shrunk(images, 4), images)
    assert shrunk(images, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    torch.testing.assert_close(shrunk(images, 1)[..., 0, 0], images.mean((2, 3)))
