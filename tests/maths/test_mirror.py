"""The mirror: an involution under which a drawn landmark and its point stay together."""

import torch

from brule.maths.heatmaps import condition, coordinates
from brule.maths.images import mirror, mirror_points

PERMUTATION = torch.tensor([1, 0, 2])
POINTS = torch.tensor([[[0.2, 0.3], [0.7, 0.35], [0.5, 0.6]]] * 2)
FLIP = torch.tensor([True, False])


def test_points_follow_the_image_and_swap_names():
    drawn = mirror(condition(POINTS, 32, 1.0), FLIP)
    found = coordinates(drawn / drawn.sum((2, 3), keepdim=True))
    moved = mirror_points(POINTS, FLIP, PERMUTATION)
    assert torch.allclose(moved[0], found[0][PERMUTATION], atol=1e-5)
    assert torch.allclose(moved[0], torch.tensor([[0.3, 0.35], [0.8, 0.3], [0.5, 0.6]]))
    assert torch.equal(moved[1], POINTS[1])
    assert torch.equal(drawn[1], condition(POINTS, 32, 1.0)[1])


def test_twice_is_the_identity():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mirror(mirror(images, FLIP), FLIP), images)
    assert torch.allclose(mirror_points(mirror_points(POINTS, FLIP, PERMUTATION), FLIP, PERMUTATION), POINTS)
