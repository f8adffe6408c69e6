"""The one-euro filter: what is constant stays, noise shrinks, motion is followed within the bound it promises."""

import math

import numpy as np
import pytest

from brule.detector.video import OneEuro

SHAPE = np.array([[0.0, 0.0], [100.0, 0.0], [50.0, 80.0]])
RATE = 25.0


def filtered(points: np.ndarray, times: np.ndarray | None = None, **parameters: float) -> np.ndarray:
    one = OneEuro(**parameters)
    times = np.arange(len(points)) / RATE if times is None else times
    return np.stack([one(each, time) for each, time in zip(points, times, strict=True)])


def test_what_is_constant_stays() -> None:
    np.testing.assert_allclose(filtered(np.tile(SHAPE, (9, 1, 1))), np.tile(SHAPE, (9, 1, 1)), rtol=0, atol=1e-12)


def test_after_a_jump_it_comes_to_the_new_place() -> None:
    points = np.concatenate([SHAPE[None], np.tile(SHAPE + 30, (100, 1, 1))])
    off = np.abs(filtered(points) - points)[1:, 0, 0]
    assert 30 > off[0] > 0 and (np.diff(off) <= 0).all() and off[-1] < 0.01


def test_noise_at_rest_keeps_the_share_of_its_variance_that_the_formula_says() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, (4000, 3, 2))
    alpha = 1 / (1 + RATE / (2 * math.pi))
    slow = filtered(SHAPE + noise, beta=0.0)[200:] - SHAPE
    assert slow.var() / noise.var() == pytest.approx(alpha / (2 - alpha), rel=0.06)
    assert (filtered(SHAPE + noise)[200:] - SHAPE).std() < 0.75 * noise.std()


@pytest.mark.parametrize("speed", [0.1, 1.0, 5.0])
def test_in_steady_motion_it_trails_as_far_as_the_formula_says(speed: float) -> None:
    """speed: widths a second; the width is 100 px."""
    moved = SHAPE + 100 * speed * (np.arange(500) / RATE)[:, None, None] * np.array([0.6, 0.8])
    behind = np.linalg.norm(moved - filtered(moved), axis=-1).max(-1)[-1] / 100
    assert behind == pytest.approx(speed / (2 * math.pi * (1 + 30 * speed)), rel=1e-3)
    assert behind < 1 / (2 * math.pi * 30)


def test_resolution_changes_nothing() -> None:
    points = SHAPE + np.random.default_rng(0).normal(0, 3, (40, 3, 2)).cumsum(0)
    np.testing.assert_allclose(7 * filtered(points), filtered(7 * points))


def test_a_clock_that_stands_or_a_shape_without_width_lets_points_through() -> None:
    points = SHAPE + np.arange(3.0)[:, None, None]
    np.testing.assert_array_equal(filtered(points, np.zeros(3)), points)
    flat = np.zeros((3, 2, 2)) + np.arange(3.0)[:, None, None]
    np.testing.assert_array_equal(filtered(flat), flat)
