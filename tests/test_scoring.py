"""Scores whose answers are obvious, on detectors that are known to be right, shifted or blind."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from brule.data.prepared import Crops
from brule.data.schemes import IBUG68, Scheme
from brule.detector.model import Detector
from brule.stages import scores as scoring

SCHEME = Scheme(("left eye", "right eye", "nose", "mouth"), (1, 0, 2, 3), (0, 1), ())
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.5], [0.5, 0.7]])


@dataclass(frozen=True)
class Known(Detector):
    """Answers what it is told, whatever the images."""

    answers: np.ndarray | None = None

    def points(self, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        assert self.answers is not None
        return self.answers[: len(images)].astype(np.float32)


class Blobs(nn.Module):
    """Finds four grey dots by their brightness: a detector that is equivariant by construction."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor([-0.5, 0.0, 0.5, 1.0]))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [-((images[:, :1] - self.levels[None, :, None, None]) ** 2) * 200]


def known(answers: np.ndarray) -> Known:
    return Known(nn.Identity(), SHAPE.astype(np.float32), SCHEME, 64, 32, {}, answers=answers)


def faces(truth: np.ndarray | None, count: int) -> Crops:
    landmarks = None if truth is None else truth.astype(np.float32)
    return Crops(np.zeros((count, 64, 64, 3), np.uint8), landmarks, pd.DataFrame(index=range(count)))


@pytest.fixture
def truth() -> np.ndarray:
    return SHAPE + np.random.default_rng(0).normal(0, 0.03, (20, 4, 2))


def test_the_truth_scores_nothing_and_a_shift_scores_its_length(truth: np.ndarray) -> None:
    right = scoring.measure(known(truth), faces(truth, 20), SHAPE).scores
    assert right["nme"] == pytest.approx(0, abs=1e-4) and right["auc_08"] == pytest.approx(1, abs=1e-5)
    eyes = np.linalg.norm(truth[:, 0] - truth[:, 1], axis=-1)
    off = scoring.measure(known(truth + np.array([0.03, 0.04])), faces(truth, 20), SHAPE).scores
    assert off["nme"] == pytest.approx(100 * np.mean(0.05 / eyes), rel=1e-4)
    assert off["parts"] == pytest.approx(dict.fromkeys(("nose", "eyes", "mouth"), off["nme"]), rel=1e-4)
    assert off["failure_08"] == 1 and off["auc_08"] == 0 and off["images"] == 20


def test_the_barycenter_scores_the_floor_and_oracles_lie_below(truth: np.ndarray) -> None:
    scores = scoring.measure(known(np.tile(SHAPE, (20, 1, 1))), faces(truth, 20), SHAPE).scores
    assert scores["nme"] == pytest.approx(scores["floor_nme"], rel=1e-4)
    assert scores["oracle_similarity_nme"] < scores["floor_nme"] and scores["oracle_affine_nme"] < scores["floor_nme"]
    assert scores["w1"] <= scores["nme"] + 1e-6


def test_only_labelled_images_count(truth: np.ndarray) -> None:
    partly = truth.copy()
    partly[::2] = np.nan
    answers = truth + 1  # if the detector's answers slipped against the labels, the error would not be that of a shift
    split = scoring.measure(known(answers[1::2]), faces(partly, 20), SHAPE)
    assert split.scores["images"] == 10 == len(split.images) == len(split.points)
    expected = 100 * np.sqrt(2) / np.linalg.norm(truth[1::2, 0] - truth[1::2, 1], axis=-1)
    np.testing.assert_allclose(split.errors["detector"], expected, rtol=1e-4)


@pytest.mark.parametrize("landmarks", [None, np.full((6, 4, 2), np.nan)])
def test_without_landmarks_scores_are_null(landmarks: np.ndarray | None) -> None:
    split = scoring.measure(known(np.tile(SHAPE, (6, 1, 1))), faces(landmarks, 6), SHAPE)
    assert split.scores == scoring.UNMEASURED and split.truth is None and len(split.points) == 6
    assert split.scores["nme"] is None and split.scores["images"] == 0


def test_parts_come_from_names() -> None:
    groups = scoring.parts(IBUG68.names)
    assert {name: len(indices) for name, indices in groups.items()} == {
        "jaw": 17, "brows": 10, "nose": 9, "eyes": 12, "mouth": 20,
    }  # fmt: skip
    assert sorted(k for indices in groups.values() for k in indices) == list(range(68))
    assert scoring.parts(("0", "1", "2")) == {} == scoring.parts(("left eye", "right eye"))


def test_equivariance_tells_who_follows_the_image() -> None:
    """A detector of grey dots follows g; one that answers the same everywhere is told by its error and its residual."""
    rng = np.random.default_rng(1)
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    images = np.zeros((12, 64, 64, 3), np.uint8)
    for image in images:
        for level, (px, py) in zip((-0.5, 0.0, 0.5, 1.0), SHAPE + rng.normal(0, 0.03, (4, 2)), strict=True):
            image[(x - px) ** 2 + (y - py) ** 2 < 0.07**2] = round((level + 1) * 127.5)
    sees = Detector(Blobs(), SHAPE.astype(np.float32), SCHEME, 64, 64)
    blind = Detector(Blind(), SHAPE.astype(np.float32), SCHEME, 64, 64)
    following, fixed = scoring.look(sees, images, SHAPE, batch=5), scoring.look(blind, images, SHAPE)
    assert following["equivariance"] < 0.06 < 0.1 < fixed["equivariance"]
    assert fixed["entropy"] == pytest.approx(np.log(64 * 64), rel=1e-3)
    assert scoring.look(sees, images, SHAPE, batch=5) == following, "the deformations are always the same"
    assert scoring.look(sees, images[:0], SHAPE) == {}


class Blind(Blobs):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [0 * super().forward(images)[0]]


def test_speed_is_a_rate() -> None:
    detector = known(np.zeros((64, 4, 2)))
    rate = scoring.speed(detector, np.zeros((8, 64, 64, 3), np.uint8), seconds=0.01)
    assert rate is not None and rate > 0
    assert scoring.speed(detector, np.zeros((0, 64, 64, 3), np.uint8)) is None
