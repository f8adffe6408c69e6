"""models/gan.safetensors: what training saves draws the same images again, and no other file is accepted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from brule.detector import gan, weights
from brule.detector.gan import AT_ONCE, Gan
from brule.detector.model import KIND as DETECTOR
from brule.errors import BruleError
from brule.maths import heatmaps
from brule.maths.images import to_tensor
from brule.networks.generator import Generator
from brule.networks.style import NoiseToStyle, StyleEncoder

MODEL: dict[str, Any] = {
    "map_size": 16,
    "condition_sigma": 1.25,
    "generator": {"width": 4, "max_width": 8},
    "style": {"size": 8, "width": 4, "latent": 6, "depth": 2, "mixing": 0.9},
}


@pytest.fixture
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "generator": Generator(3, 32, 16, 8, 4, 8),
        "style": StyleEncoder(32, 8, 4),
        "noise_to_style": NoiseToStyle(6, 8, 2),
    }


@pytest.fixture
def path(tmp_path: Path, networks: dict[str, nn.Module]) -> Path:
    gan.save(tmp_path / "gan.safetensors", networks, landmarks=3, image_size=32, model=MODEL, iterations=70)
    return tmp_path / "gan.safetensors"


@pytest.fixture
def shapes() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 0.8, (5, 3, 2))


def test_what_was_saved_draws_the_same_images(path: Path, networks: dict[str, nn.Module], shapes: np.ndarray) -> None:
    loaded = Gan.load(path)
    assert (loaded.landmarks, loaded.image_size, loaded.map_size, loaded.iterations) == (3, 32, 16, 70)
    styles = loaded.styles(5)
    condition = heatmaps.condition(torch.tensor(shapes, dtype=torch.float32), 16, 1.25)
    with torch.no_grad():
        torch.testing.assert_close(styles, networks["noise_to_style"].truncated(5))
        I = networks["generator"](condition, styles).clamp(-1, 1).permute(0, 2, 3, 1).numpy()
    drawn = loaded.images(shapes, styles)
    assert drawn.dtype == np.uint8 and drawn.shape == (5, 32, 32, 3) and drawn.std() > 1
    np.testing.assert_allclose(drawn / 127.5 - 1, I, atol=0.51 / 127.5)
    assert np.abs(loaded.images(shapes, styles, batch_size=2).astype(int) - drawn).max() <= 1
    assert loaded.images(shapes[:0], styles[:0]).shape == (0, 32, 32, 3)


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> None:
    """Change header and tensors of a GAN's file."""
    with safe_open(path, framework="pt") as stream:
        header = json.loads(stream.metadata()[gan.KIND.key])
    tensors = load_file(path)
    change(header, tensors)
    save_file(tensors, path, {gan.KIND.key: json.dumps(header)})


DAMAGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, torch.Tensor]], object], str]] = {
    "no style": (lambda h, t: h["model"].pop("style"), "its header is damaged"),
    "no width of the style": (lambda h, t: h["model"]["style"].pop("width"), "its header is damaged"),
    "a later format": (lambda h, t: h.update(format=9), "it has format 9"),
    "no model": (lambda h, t: h.pop("model"), "its header is damaged"),
    "a model that is a list": (lambda h, t: h.update(model=[1]), "its header is damaged"),
    "no landmarks": (lambda h, t: h.update(landmarks=0), "its header is damaged"),
    "an odd image": (lambda h, t: h.update(image_size=33), "its header is damaged"),
    "a width beyond bounds": (lambda h, t: h["model"]["generator"].update(width=10**6), "its header is damaged"),
    "no width of the condition": (lambda h, t: h["model"].update(condition_sigma=0), "its header is damaged"),
    "a NaN as width": (lambda h, t: h["model"].update(condition_sigma=float("nan")), "its header is damaged"),
    "iterations before the first": (lambda h, t: h.update(iterations=-1), "its header is damaged"),
    "a width beyond memory": (
        lambda h, t: h["model"]["generator"].update(width=4096),
        "its weights do not match its header",
    ),
    "another latent": (lambda h, t: h["model"]["style"].update(latent=7), "its weights do not match its header"),
    "another style": (lambda h, t: h["model"]["style"].update(width=5), "its weights do not match its header"),
    "a missing tensor": (lambda h, t: t.pop("generator.to_rgb.0.bias"), "its weights do not match its header"),
    "NaN": (lambda h, t: t["noise_to_style.layers.0.bias"].fill_(float("nan")), "its weights are damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_gan_is_one_sentence(path: Path, damage: str) -> None:
    change, sentence = DAMAGES[damage]
    rewrite(path, change)
    with pytest.raises(BruleError, match=sentence) as caught:
        Gan.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_foreign_files_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(BruleError, match=r"not a whole safetensors file.*models/gan\.safetensors"):
        Gan.load(path)
    weights.save(path, DETECTOR, {}, {"x": torch.zeros(1)})
    with pytest.raises(BruleError, match="not a brule GAN"):
        Gan.load(path)
    path.unlink()
    with pytest.raises(BruleError, match="no such file"):
        Gan.load(path)


def test_a_gan_for_another_detector_is_refused(path: Path) -> None:
    assert Gan.load(path, "cpu", (3, 32)).iterations == 70
    for count, size in ((4, 32), (3, 64)):
        wanted = rf"gan\.safetensors: it draws 3 landmarks at 32 px, but the detector finds {count} at {size} px"
        with pytest.raises(BruleError, match=wanted):
            Gan.load(path, "cpu", (count, size))


def test_each_turn_brings_new_styles_until_they_come_round(path: Path, shapes: np.ndarray) -> None:
    loaded = Gan.load(path)
    turns = [loaded.restyled(shapes[0], turn) for turn in (0, 1, 41)]
    every = np.concatenate(turns).reshape(3 * AT_ONCE, -1)
    assert len(np.unique(every, axis=0)) == 3 * AT_ONCE
    np.testing.assert_array_equal(loaded.restyled(shapes[0], 42), turns[0])
    np.testing.assert_array_equal(turns[1], loaded.images(shapes[:1].repeat(6, 0), loaded.styles(12)[6:]))


def test_a_crop_is_redrawn_in_its_own_style(path: Path, networks: dict[str, nn.Module], shapes: np.ndarray) -> None:
    loaded = Gan.load(path)
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    crops[1] //= 4
    first, second = (loaded.restored(crop, shapes[0]) for crop in crops)
    assert first.shape == (32, 32, 3) and (first != second).any()
    with torch.no_grad():
        style = networks["style"](to_tensor(crops[:1], torch.device("cpu")))
    assert np.abs(loaded.images(shapes[:1], style)[0].astype(int) - first).max() <= 1
