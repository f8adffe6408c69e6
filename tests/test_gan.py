"""models/gan.safetensors: what training saves draws the same images again, and nothing else is taken for it."""

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
from brule.detector.gan import Gan
from brule.detector.model import KIND as DETECTOR
from brule.errors import BruleError
from brule.maths import heatmaps
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
    "a later format": (lambda h, t: h.update(format=9), "format is 9"),
    "no model": (lambda h, t: h.pop("model"), "header is damaged"),
    "a model that is none": (lambda h, t: h.update(model=[1]), "header is damaged"),
    "no landmarks": (lambda h, t: h.update(landmarks=0), "header is damaged"),
    "an odd image": (lambda h, t: h.update(image_size=33), "header is damaged"),
    "a width beyond bounds": (lambda h, t: h["model"]["generator"].update(width=10**6), "header is damaged"),
    "no width of the condition": (lambda h, t: h["model"].update(condition_sigma=0), "header is damaged"),
    "a NaN as width": (lambda h, t: h["model"].update(condition_sigma=float("nan")), "header is damaged"),
    "iterations before the first": (lambda h, t: h.update(iterations=-1), "header is damaged"),
    "a width beyond memory": (lambda h, t: h["model"]["generator"].update(width=4096), "weights are not those"),
    "another latent": (lambda h, t: h["model"]["style"].update(latent=7), "weights are not those"),
    "a missing tensor": (lambda h, t: t.pop("generator.to_rgb.0.bias"), "weights are not those"),
    "NaN": (lambda h, t: t["noise_to_style.layers.0.bias"].fill_(float("nan")), "weights are damaged"),
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
