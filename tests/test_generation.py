"""Scores of generated images, on generators that draw what they are asked for, something else, or always the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brule.data.schemes import Scheme
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.networks.style import NoiseToStyle
from brule.stages import scores as generation

SCHEME = Scheme(("left eye", "right eye", "nose", "mouth"), None, (0, 1), ())
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.5, 0.75]])
LEVELS = torch.tensor([-0.5, 0.0, 0.5, 1.0])


class Dots(nn.Module):
    """Draws its condition: in red a dot of its own level for each landmark; green and blue are the style's."""

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
    """Lets the style decide where things are: two pixels to the left or to the right."""

    def forward(self, condition: Tensor, style: Tensor) -> Tensor:
        sides = [int(2 * s) for s in style[:, 0].sign()]
        moved = torch.stack([c.roll(side, -1) for c, side in zip(condition, sides, strict=True)])
        return super().forward(moved, style)


class Constant(Dots):
    """Ignores both."""

    def forward(self, condition: Tensor, style: Tensor) -> Tensor:
        image = torch.full((3, 64, 64), -1.0)
        for k, level in enumerate(LEVELS):
            image[0, 10 + 8 * k : 14 + 8 * k, 20:24] = level
        return image.expand(len(condition), -1, -1, -1)


class Reader(Dots):
    """Finds the dots by their level."""

    def forward(self, images: Tensor) -> list[Tensor]:  # type: ignore[override]
        return [-((images[:, :1] - LEVELS[None, :, None, None]) ** 2) * 200]


DETECTOR = Detector(Reader(), SHAPE.astype(np.float32), SCHEME, 64, 64)


def model(generator: nn.Module) -> Gan:
    torch.manual_seed(0)
    return Gan(generator, NoiseToStyle(16, 8, 2), 4, 64, 64, 2.5, iterations=1)


@pytest.fixture
def shapes() -> np.ndarray:
    return SHAPE + np.random.default_rng(0).normal(0, 0.03, (30, 4, 2))


@pytest.fixture
def real() -> np.ndarray:
    """A black and a white image: 2 apart in the unit of [−1, 1]."""
    return np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])


def test_who_draws_what_is_asked_for_has_no_error(shapes: np.ndarray, real: np.ndarray) -> None:
    scores = generation.measure_samples(model(Dots()), DETECTOR, shapes, real, batch=7)
    assert scores["nme"] < 0.8 < 8 < scores["nme_floor"] and scores["drift"] < 1e-3 and scores["shapes"] == 30
    assert generation.measure_samples(model(Dots()), DETECTOR, shapes, real) == pytest.approx(scores), "noise is fixed"
    tint = torch.tanh(model(Dots()).styles(60)[:, :2])
    expected = float((tint[:30] - tint[30:]).abs().mean()) * (2 / 3) / 2
    assert scores["diversity"] == pytest.approx(expected, rel=0.02) and expected > 0.05


def test_a_shift_is_an_error_and_a_style_that_moves_things_is_drift(shapes: np.ndarray, real: np.ndarray) -> None:
    eyes = np.linalg.norm(shapes[:, 0] - shapes[:, 1], axis=-1)
    shifted = generation.measure_samples(model(Shifted()), DETECTOR, shapes, real)
    assert shifted["nme"] == pytest.approx(100 * np.mean(4 / 64 / eyes), rel=0.05) and shifted["drift"] < 1e-3
    wandering = generation.measure_samples(model(Wandering()), DETECTOR, shapes, real)
    assert wandering["drift"] > 2 and wandering["nme"] == pytest.approx(shifted["nme"] / 2, rel=0.1)


def test_who_always_draws_the_same_has_the_floor_and_no_diversity(shapes: np.ndarray, real: np.ndarray) -> None:
    scores = generation.measure_samples(model(Constant()), DETECTOR, shapes, real)
    assert scores["nme"] == pytest.approx(scores["nme_floor"]) and scores["nme"] > 10
    assert scores["diversity"] == 0 == scores["drift"]


def test_what_cannot_be_measured_is_null(shapes: np.ndarray, real: np.ndarray) -> None:
    untrained = replace(model(Dots()), iterations=0)
    assert generation.measure_samples(untrained, DETECTOR, shapes, real) == generation.UNMEASURED_SAMPLES
    assert generation.measure_samples(model(Dots()), DETECTOR, shapes[:1], real) == generation.UNMEASURED_SAMPLES
    for images in (real[:0], real[:1], real[[0, 0]]):
        scores = generation.measure_samples(model(Dots()), DETECTOR, shapes, images)
        assert scores["diversity"] is None and scores["nme"] < 1


def test_the_shapes_are_those_of_validation_where_there_are_some(shapes: np.ndarray) -> None:
    np.testing.assert_array_equal(generation.held_out(shapes, shapes + 1), shapes)
    np.testing.assert_array_equal(generation.held_out(None, shapes), shapes)
    many = np.tile(np.arange(1234.0)[:, None, None], (1, 4, 2))
    some = generation.held_out(many, shapes)[:, 0, 0]
    assert len(some) == 500 and some[0] == 0 and some[-1] == 1233 and np.all(np.diff(some) >= 2)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_everyone_gets_another_one(count: int) -> None:
    others = generation.another(count)
    assert sorted(others) == list(range(count)) and np.all(others != np.arange(count))


def test_the_panel_shows_a_style_a_row(shapes: np.ndarray) -> None:
    rows, asked = generation.panel(model(Dots()), shapes, columns=5, styles=3)
    assert list(rows) == ["shape", "z1", "z2", "z3"] and asked.shape == (5, 4, 2)
    assert np.ptp(rows["shape"]) == 0 and all(images.shape == (5, 64, 64, 3) for images in rows.values())
    assert np.ptp(rows["z1"][..., 1]) == 0 and rows["z1"][0, 0, 0, 1] != rows["z2"][0, 0, 0, 1], "one style a row"
    np.testing.assert_allclose(DETECTOR.points(rows["z3"]), asked, atol=0.01)
