"""What to label next: every kind of image, the doubtful of each kind, and no outlier."""

import numpy as np
import pytest

from brule.detector.suggestion import choose, descriptors

RNG = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
SIZES = (200, 40, 20, 10)
KINDS = np.concatenate([c + RNG.normal(0, 0.5, (n, 2)) for c, n in zip(CENTRES, SIZES, strict=True)])
OF = np.repeat(range(4), SIZES)


def test_every_kind_gets_one_however_rare_it_is():
    chosen = choose(KINDS, np.zeros(len(KINDS)), 4)
    assert sorted(OF[chosen]) == [0, 1, 2, 3]


def test_of_one_kind_the_doubtful_image_is_chosen_unless_it_is_an_outlier():
    away = np.linalg.norm(KINDS - CENTRES[OF], axis=1)
    central, outlier = (np.flatnonzero(OF == 0)[f(away[OF == 0])] for f in (np.argmin, np.argmax))
    doubt = np.zeros(len(KINDS))
    doubt[[central, outlier]] = 1, 2
    chosen = choose(KINDS, doubt, 4)
    assert chosen[0] == central
    assert outlier not in chosen


@pytest.mark.parametrize("count", [1, 7, 270, 1000])
def test_as_many_as_wanted_each_once_and_the_most_doubtful_first(count: int):
    doubt = RNG.random(len(KINDS))
    chosen = choose(KINDS, doubt, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(KINDS))
    assert list(doubt[chosen]) == sorted(doubt[chosen], reverse=True)
    assert chosen == choose(KINDS, doubt, count)


def test_copies_of_one_image_do_not_stop_it():
    assert len(set(choose(np.zeros((9, 3)), np.arange(9.0), 4))) == 4


def test_exposure_does_not_make_another_kind_but_landmarks_and_content_do():
    crop = RNG.integers(0, 120, (24, 24, 3), dtype=np.uint8)
    crops = np.stack([crop, crop * 2, crop[::-1], crop])
    shape = RNG.random((5, 2))
    kinds = descriptors(crops, np.stack([shape, shape, shape, shape + 0.1]))
    apart = np.linalg.norm(kinds - kinds[0], axis=1)
    assert apart[1] < 1e-2
    assert min(apart[2:]) > 0.5
