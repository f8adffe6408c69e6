"""The Fréchet distance against SciPy's root of a matrix, and its features against their definition, step by step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.ndimage import correlate, gaussian_filter

from brule.maths import frechet
from brule.synthetic import render


def rows(seed: int, count: int, size: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, size)) @ random.normal(size=(size, size)) + random.normal(size=size)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.stack([render(0, index, 64)[0] for index in range(120)])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 40), st.integers(8, 40), st.integers(1, 7))
def test_it_is_the_formula_with_scipy_s_root(seed: int, n: int, m: int, size: int) -> None:
    x, y = rows(seed, n, size), rows(seed + 1, m, size)
    one, two = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    exact = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert frechet.distance(x, y) == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert frechet.distance(y, x) == pytest.approx(exact, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("count", [2, 5, 50])
def test_equal_sets_are_at_zero_and_a_shift_at_its_square_even_if_rows_are_few(count: int) -> None:
    x, shift = rows(0, count, 9), np.arange(9.0)
    assert frechet.distance(x, x[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet.distance(x, x + shift) == pytest.approx(np.square(shift).sum())
    spread = np.square(x - x.mean(0)).sum() / (count - 1)
    assert frechet.distance(x, x.mean(0) + 3 * (x - x.mean(0))) == pytest.approx((3 - 1) ** 2 * spread)


def test_features_are_those_of_the_definition() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), np.uint8)
    random, h = np.random.RandomState(20200612), image[0].transpose(2, 0, 1) / 127.5 - 1
    wanted = [h.mean((1, 2))]
    for depth, outputs in enumerate((16, 32, 48, 64)):
        W = random.standard_normal((outputs, len(h), 3, 3)) * np.sqrt(2 / (9 * len(h)))
        for k in range(outputs // 2, outputs):
            W[k] -= W[k].mean((1, 2))[:, None, None]
        pairs = [[correlate(c, w, mode="mirror") for c, w in zip(h, kernel, strict=True)] for kernel in W]
        h = np.maximum(np.sum(pairs, 1), 0)[:, :: 2 if depth else 1, :: 2 if depth else 1]
        wanted.append(h.mean((1, 2)))
    found = frechet.features(image)
    assert found.shape == (1, 163) and h.shape == (64, 2, 2)
    np.testing.assert_allclose(found[0], np.concatenate(wanted), atol=1e-5)


def test_features_never_change(faces: np.ndarray) -> None:
    """Not with the other images, nor with the threads or the state of the random numbers."""
    found = frechet.features(faces)
    np.random.seed(3)
    torch.manual_seed(3)
    torch.set_num_threads(2)
    np.testing.assert_allclose(frechet.features(faces[50:53]), found[50:53], atol=1e-5)
    assert frechet.features(faces[:0]).shape == (0, 163)


def test_blur_noise_and_a_lack_of_variety_grow_it(faces: np.ndarray) -> None:
    one, two = frechet.features(faces[:60]), faces[60:]
    noise = np.random.default_rng(0).normal(size=two.shape)

    def away(images: np.ndarray) -> float:
        x, y = frechet.standardised(one, one, frechet.features(images.round().clip(0, 255).astype(np.uint8)))
        return frechet.distance(x, y)

    blurred = [away(gaussian_filter(two.astype(float), (0, sigma, sigma, 0))) for sigma in (0, 0.7, 1.4)]
    noisy = [away(two + level * noise) for level in (0, 8, 16)]
    alike = [away(two[np.arange(60) % few]) for few in (60, 6, 2)]
    for values in (blurred, noisy, alike):
        assert values[1] > 1.3 * values[0] and values[2] > 1.3 * values[1], (blurred, noisy, alike)


def test_every_feature_counts_alike_and_a_constant_one_keeps_its_unit() -> None:
    reference = np.stack([np.array([0.0, 5.0, 7.0]), np.array([0.2, 5.0, 107.0])])
    one, other = frechet.standardised(reference, reference, reference + 1)
    np.testing.assert_allclose(one, [[-1, 0, -1], [1, 0, 1]])
    np.testing.assert_allclose(other - one, np.tile([10, 1, 0.02], (2, 1)))
