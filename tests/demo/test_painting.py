"""The GAN beside a detector: only the one that fits, and styles that go on and come round."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from brule.app.answering import Guide
from brule.app.painting import AT_ONCE, Painter
from brule.detector import gan, weights
from brule.errors import BruleError
from brule.networks.generator import Generator
from brule.networks.style import NoiseToStyle, StyleEncoder


def save(path: Path, landmarks: int, iterations: int, style: int = 8) -> Path:
    model = {"condition_sigma": 1.25, "map_size": 16, "generator": {"width": 4, "max_width": 8}}
    networks = {
        "generator": Generator(landmarks, 64, 16, 8, 4, 8),
        "style": StyleEncoder(64, style, 4),
        "noise_to_style": NoiseToStyle(8, 8, 2),
    }
    sizes = {"style": {"size": 8, "width": 4, "latent": 8, "depth": 2}}
    gan.save(path, networks, landmarks=landmarks, image_size=64, model=model | sizes, iterations=iterations)
    return path


def test_a_gan_that_was_never_trained_draws_nothing(guide: Guide, tmp_path: Path) -> None:
    assert Painter.load(save(tmp_path / "gan.safetensors", 4, 0), guide.detector) is None
    assert Painter.load(save(tmp_path / "gan.safetensors", 4, 1), guide.detector)


def test_a_gan_that_does_not_fit_is_told(guide: Guide, models: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other.safetensors", 3, 1)
    with pytest.raises(BruleError, match=r"other\.safetensors: it draws 3 landmarks at 64 px, the detector answers 4"):
        Painter.load(other, guide.detector)
    with pytest.raises(BruleError, match=r"torn\.safetensors: its weights are not those its header describes"):
        Painter.load(save(tmp_path / "torn.safetensors", 4, 1, style=9), guide.detector)
    shutil.copy(models / "gan.safetensors", tmp_path / "cut.safetensors")
    header, tensors = weights.load(tmp_path / "cut.safetensors", gan.KIND)
    header["model"]["style"].pop("width")
    weights.save(tmp_path / "cut.safetensors", gan.KIND, header, tensors)
    with pytest.raises(BruleError, match=r"cut\.safetensors: its header is damaged"):
        Painter.load(tmp_path / "cut.safetensors", guide.detector)
    with pytest.raises(BruleError, match=r"none\.safetensors: there is no such file"):
        Painter.load(tmp_path / "none.safetensors", guide.detector)


def test_the_styles_of_each_turn_are_others_until_they_come_round(guide: Guide) -> None:
    assert guide.painter
    shape = np.random.default_rng(0).uniform(0.2, 0.8, (4, 2))
    turns = [guide.painter.others(shape, turn) for turn in (0, 1, 41)]
    every = np.concatenate(turns).reshape(3 * AT_ONCE, -1)
    assert len(np.unique(every, axis=0)) == 3 * AT_ONCE
    np.testing.assert_array_equal(guide.painter.others(shape, 42), turns[0])


def test_a_photo_s_own_style_is_seen(guide: Guide) -> None:
    assert guide.painter
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    crops[1] //= 4
    shape = np.full((4, 2), 0.5)
    first, second = (guide.painter.restored(guide.detector, crop, shape) for crop in crops)
    assert first.shape == (64, 64, 3) and (first != second).any()
