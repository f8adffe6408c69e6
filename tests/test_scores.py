"""Scores whose answers are obvious: of detectors that are right, shifted or blind, and of generators that draw what is
requested, something else, or always the same."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from brule.data.prepared import Crops
from brule.data.schemes import IBUG68, Scheme
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.networks.style import NoiseToStyle, StyleEncoder
from brule.stages import gan_scores, scores
from brule.stages.gan_scores import UNLIKENED, UNMEASURED_SAMPLES, likeness, measure_samples
from brule.stages.scores import UNMEASURED, collapse_monitors, measure

SCHEME = Scheme(("left eye", "right eye", "nose", "mouth"), (1, 0, 2, 3), (0, 1), ())
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.5, 0.75]])
LEVELS = torch.tensor([-0.5, 0.0, 0.5, 1.0])


@dataclass(frozen=True)
class Known(Detector):
    """Answers what it was given, whatever the images."""

    answers: np.ndarray | None = None

    def points(self, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        assert self.answers is not None
        return self.answers[: len(images)].astype(np.float32)


class Reader(nn.Module):
    """Finds a dot for each landmark by its level of red: a detector that is equivariant by construction."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(LEVELS)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [-((images[:, :1] - self.levels[None, :, None, None]) ** 2) * 200]


class Blind(Reader):
    """Gives the same even heatmaps for every image."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [0 * super().forward(images)[0]]


SEES = Detector(Reader(), SHAPE.astype(np.float32), SCHEME, 64, 64)
BLIND = Detector(Blind(), SHAPE.astype(np.float32), SCHEME, 64, 64)


def known(answers: np.ndarray) -> Known:
    return Known(nn.Identity(), SHAPE.astype(np.float32), SCHEME, 64, 32, {}, answers=answers)


def crops(truth: np.ndarray | None, count: int) -> Crops:
    landmarks = None if truth is None else truth.astype(np.float32)
    return Crops(np.zeros((count, 64, 64, 3), np.uint8), landmarks, pd.DataFrame(index=range(count)))


@pytest.fixture
def truth() -> np.ndarray:
    return SHAPE + np.random.default_rng(0).normal(0, 0.03, (20, 4, 2))


def test_the_truth_scores_zero_and_a_shift_scores_its_length(truth: np.ndarray) -> None:
    right = measure(known(truth), crops(truth, 20), SHAPE).scores
    assert right["nme"] == pytest.approx(0, abs=1e-4) and right["auc_08"] == pytest.approx(1, abs=1e-5)
    eyes = np.linalg.norm(truth[:, 0] - truth[:, 1], axis=-1)
    off = measure(known(truth + np.array([0.03, 0.04])), crops(truth, 20), SHAPE).scores
    assert off["nme"] == pytest.approx(100 * np.mean(0.05 / eyes), rel=1e-4)
    assert off["parts"] == pytest.approx(dict.fromkeys(("nose", "eyes", "mouth"), off["nme"]), rel=1e-4)
    assert off["failure_08"] == 1 and off["auc_08"] == 0 and off["images"] == 20


def test_the_barycenter_scores_the_floor_and_oracles_lie_below(truth: np.ndarray) -> None:
    found = measure(known(np.tile(SHAPE, (20, 1, 1))), crops(truth, 20), SHAPE).scores
    assert found["nme"] == pytest.approx(found["floor_nme"], rel=1e-4)
    assert found["oracle_similarity_nme"] < found["floor_nme"] and found["oracle_affine_nme"] < found["floor_nme"]
    assert found["w1"] <= found["nme"] + 1e-6


@pytest.mark.parametrize("count", [2, 6, 40])
def test_the_margin_is_scipy_s_interval(count: int) -> None:
    errors = np.random.default_rng(count).gamma(4, 1, count)
    low, high = stats.ttest_1samp(errors, 0).confidence_interval(0.95)
    margin = scores.margin(errors)
    assert margin is not None
    assert (errors.mean() - margin, errors.mean() + margin) == pytest.approx((low, high))
    assert scores.margin(errors[:1]) is None, "one photo says nothing of the others"


def test_the_interval_of_few_photos_holds_what_it_promises() -> None:
    """Of 2000 sets of six photos, whose errors are skewed as those of a detector are, some 95 % hold the true mean."""
    draws = np.random.default_rng(0).gamma(4, 1, (2000, 6))
    held = [abs(errors.mean() - 4) <= (scores.margin(errors) or 0) for errors in draws]
    assert 0.91 < np.mean(held) < 0.97


def test_only_labelled_images_count(truth: np.ndarray) -> None:
    partly = truth.copy()
    partly[::2] = np.nan
    answers = truth + 1  # were answers paired with the wrong labels, the error would not be that of a shift
    split = measure(known(answers), crops(partly, 20), SHAPE)
    assert split.scores["images"] == 10 and len(split.images) == len(split.points) == 20
    assert split.known.tolist() == list(range(1, 20, 2))
    expected = 100 * np.sqrt(2) / np.linalg.norm(truth[1::2, 0] - truth[1::2, 1], axis=-1)
    np.testing.assert_allclose(split.errors["detector"], expected, rtol=1e-4)


@pytest.mark.parametrize("landmarks", [None, np.full((6, 4, 2), np.nan)])
def test_without_landmarks_scores_are_null(landmarks: np.ndarray | None) -> None:
    split = measure(known(np.tile(SHAPE, (6, 1, 1))), crops(landmarks, 6), SHAPE)
    assert split.scores == UNMEASURED and split.truth is None and len(split.points) == 6
    assert split.scores["nme"] is None and split.scores["images"] == 0


def test_parts_come_from_names() -> None:
    groups = scores.parts(IBUG68.names)
    assert {name: len(indices) for name, indices in groups.items()} == {
        "jaw": 17, "brows": 10, "nose": 9, "eyes": 12, "mouth": 20,
    }  # fmt: skip
    assert sorted(k for indices in groups.values() for k in indices) == list(range(68))
    assert scores.parts(("0", "1", "2")) == {} == scores.parts(("left eye", "right eye"))


def test_equivariance_tells_whether_a_detector_follows_the_image() -> None:
    """A detector of dots follows the deformation g; one that always answers the same does not."""
    rng = np.random.default_rng(1)
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    images = np.zeros((12, 64, 64, 3), np.uint8)
    for image in images:
        for level, (px, py) in zip(LEVELS.tolist(), SHAPE + rng.normal(0, 0.03, (4, 2)), strict=True):
            image[(x - px) ** 2 + (y - py) ** 2 < 0.07**2] = round((level + 1) * 127.5)
    following, fixed = collapse_monitors(SEES, images, SHAPE), collapse_monitors(BLIND, images, SHAPE)
    assert following["equivariance"] < 0.06 < 0.1 < fixed["equivariance"]
    assert fixed["entropy"] == pytest.approx(np.log(64 * 64), rel=1e-3)
    assert collapse_monitors(SEES, images, SHAPE) == following, "the deformations are the same every time"
    assert collapse_monitors(SEES, images[:0], SHAPE) == {}


def test_speed_is_a_rate() -> None:
    detector = known(np.zeros((64, 4, 2)))
    rate = scores.speed(detector, np.zeros((8, 64, 64, 3), np.uint8), seconds=0.01)
    assert rate is not None and rate > 0
    assert scores.speed(detector, np.zeros((0, 64, 64, 3), np.uint8)) is None


class Dots(nn.Module):
    """Draws its condition: in red, a dot of its own level for each landmark. Green and blue are set by the style."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, condition: Tensor, style: Tensor) -> Tensor:
        dots = condition > 0.5  # (B, 4, 64, 64)
        red = (dots * (LEVELS[:, None, None] + 1)).amax(1) - 1
        rest = torch.tanh(style[:, :2])[..., None, None].expand(-1, -1, 64, 64)
        return torch.cat([red[:, None], rest], 1)


class Shifted(Dots):
    """Draws everything four pixels to the right."""

    def forward(self, condition: Tensor, style: Tensor) -> Tensor:
        return super().forward(condition.roll(4, -1), style)


class Wandering(Dots):
    """Lets the style decide where the dots are: two pixels to the left or to the right."""

    def forward(self, condition: Tensor, style: Tensor) -> Tensor:
        sides = [int(2 * s) for s in style[:, 0].sign()]
        moved = torch.stack([c.roll(side, -1) for c, side in zip(condition, sides, strict=True)])
        return super().forward(moved, style)


class Constant(Dots):
    """Ignores both, and always draws the same image."""

    def forward(self, condition: Tensor, style: Tensor) -> Tensor:
        image = torch.full((3, 64, 64), -1.0)
        for k, level in enumerate(LEVELS):
            image[0, 10 + 8 * k : 14 + 8 * k, 20:24] = level
        return image.expand(len(condition), -1, -1, -1)


def gan(generator: nn.Module) -> Gan:
    torch.manual_seed(0)
    return Gan(generator, NoiseToStyle(16, 8, 2), StyleEncoder(64, 8, 4), 4, 64, 64, 2.5, iterations=1)


@pytest.fixture
def shapes() -> np.ndarray:
    return SHAPE + np.random.default_rng(0).normal(0, 0.03, (30, 4, 2))


@pytest.fixture
def real() -> np.ndarray:
    """A black and a white image: 2 apart in the unit of [−1, 1]."""
    return np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])


def test_drawing_what_is_requested_has_no_error(shapes: np.ndarray, real: np.ndarray) -> None:
    found = measure_samples(gan(Dots()), SEES, shapes, real, batch=7)
    assert found["nme"] < 0.8 < 8 < found["nme_floor"] and found["drift"] < 1e-3 and found["shapes"] == 30
    assert measure_samples(gan(Dots()), SEES, shapes, real) == pytest.approx(found), "noise is fixed"
    tint = torch.tanh(gan(Dots()).styles(60)[:, :2])
    expected = float((tint[:30] - tint[30:]).abs().mean()) * (2 / 3) / 2
    assert found["diversity"] == pytest.approx(expected, rel=0.02) and expected > 0.05


def test_a_shift_is_an_error_and_a_style_that_moves_things_is_drift(shapes: np.ndarray, real: np.ndarray) -> None:
    eyes = np.linalg.norm(shapes[:, 0] - shapes[:, 1], axis=-1)
    shifted = measure_samples(gan(Shifted()), SEES, shapes, real)
    assert shifted["nme"] == pytest.approx(100 * np.mean(4 / 64 / eyes), rel=0.05) and shifted["drift"] < 1e-3
    wandering = measure_samples(gan(Wandering()), SEES, shapes, real)
    assert wandering["drift"] > 2 and wandering["nme"] == pytest.approx(shifted["nme"] / 2, rel=0.1)


def test_always_drawing_the_same_scores_the_floor_and_no_diversity(shapes: np.ndarray, real: np.ndarray) -> None:
    found = measure_samples(gan(Constant()), SEES, shapes, real)
    assert found["nme"] == pytest.approx(found["nme_floor"]) and found["nme"] > 10
    assert found["diversity"] == 0 == found["drift"]


def test_samples_that_cannot_be_measured_are_null(shapes: np.ndarray, real: np.ndarray) -> None:
    untrained = replace(gan(Dots()), iterations=0)
    assert measure_samples(untrained, SEES, shapes, real) == UNMEASURED_SAMPLES
    assert measure_samples(gan(Dots()), SEES, shapes[:1], real) == UNMEASURED_SAMPLES
    for images in (real[:0], real[:1], real[[0, 0]]):
        found = measure_samples(gan(Dots()), SEES, shapes, images)
        assert found["diversity"] is None and found["nme"] < 1


def test_images_like_the_real_ones_are_as_far_from_them_as_the_real_ones_are_from_each_other(
    shapes: np.ndarray,
) -> None:
    torch.manual_seed(0)
    many = SHAPE + np.random.default_rng(5).normal(0, 0.03, (90, 4, 2))
    same = gan(Dots())
    taught = same.images(many, same.styles(90, truncation=1.0, seed=2))
    found = likeness(same, shapes, taught, batch=7)
    assert found["frechet_images"] == 45 and found["frechet"] < 3 * found["frechet_floor"]
    assert likeness(same, shapes, taught) == pytest.approx(found), "noise and halves are fixed"
    shifted, constant = (likeness(gan(kind), shapes, taught) for kind in (Shifted(), Constant()))
    assert shifted["frechet_floor"] == constant["frechet_floor"] == pytest.approx(found["frechet_floor"])
    assert constant["frechet"] > 10 * found["frechet"]
    dull = [frechet_of_styles(same, shapes, taught, scale) for scale in (1.0, 0.5, 0.0)]
    assert dull[0] == pytest.approx(found["frechet"]) and dull[0] < dull[1] < dull[2], "less variety is further away"


def frechet_of_styles(subject: Gan, shapes: np.ndarray, taught: np.ndarray, scale: float) -> float:
    """Where the styles reach less far from their mean than they do by themselves."""
    dull = Dull(subject.noise_to_style, scale)
    return float(likeness(replace(subject, noise_to_style=dull), shapes, taught)["frechet"])


class Dull(nn.Module):
    def __init__(self, styles: NoiseToStyle, scale: float) -> None:
        super().__init__()
        self.styles, self.scale = styles, scale

    def truncated(self, count: int, truncation: float, seed: int) -> Tensor:
        return self.styles.truncated(count, truncation * self.scale, seed)


def test_likeness_that_cannot_be_measured_is_null(shapes: np.ndarray, real: np.ndarray) -> None:
    taught = np.concatenate([real, 255 - real // 2])
    assert likeness(replace(gan(Dots()), iterations=0), shapes, taught) == UNLIKENED
    assert likeness(gan(Dots()), shapes, taught[:3]) == likeness(gan(Dots()), shapes[:0], taught) == UNLIKENED
    assert np.isfinite(likeness(gan(Dots()), shapes, taught)["frechet"])
    assert np.isfinite(likeness(gan(Dots()), shapes, real[[0, 0, 0, 0]])["frechet"]), "real images may all be one"
    large = np.broadcast_to(real[:1], (3000, 64, 64, 3))
    assert likeness(gan(Dots()), shapes[:3], large)["frechet_images"] == 500, "shapes come again where they are few"


def test_the_requested_shapes_are_those_of_validation_if_it_has_any(shapes: np.ndarray) -> None:
    np.testing.assert_array_equal(gan_scores.requested_shapes(shapes, shapes + 1), shapes)
    np.testing.assert_array_equal(gan_scores.requested_shapes(None, shapes), shapes)
    many = np.tile(np.arange(1234.0)[:, None, None], (1, 4, 2))
    some = gan_scores.requested_shapes(many, shapes)[:, 0, 0]
    assert len(some) == 500 and some[0] == 0 and some[-1] == 1233 and np.all(np.diff(some) >= 2)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_every_index_gets_another_one(count: int) -> None:
    others = gan_scores.another(count)
    assert sorted(others) == list(range(count)) and np.all(others != np.arange(count))


def test_the_rows_of_samples_show_one_style_each(shapes: np.ndarray) -> None:
    rows, asked = gan_scores.sample_rows(gan(Dots()), shapes, columns=5, styles=3)
    assert list(rows) == ["shape", "z1", "z2", "z3"] and asked.shape == (5, 4, 2)
    assert np.ptp(rows["shape"]) == 0 and all(images.shape == (5, 64, 64, 3) for images in rows.values())
    assert np.ptp(rows["z1"][..., 1]) == 0 and rows["z1"][0, 0, 0, 1] != rows["z2"][0, 0, 0, 1], "one style a row"
    np.testing.assert_allclose(SEES.points(rows["z3"]), asked, atol=0.01)
