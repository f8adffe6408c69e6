"""The shipped file: what is saved is what is loaded, and nothing else is taken for a detector."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import brule
from brule.data.crop import DVE, Framing
from brule.data.schemes import Scheme
from brule.detector.model import Detector, save
from brule.errors import BruleError
from brule.networks.hourglass import LandmarkEncoder

SCHEME = Scheme(("left eye", "right eye", "mouth"), (1, 0, 2), (0, 1), ((0, 1), (1, 2)))
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.75]], np.float32)
ARCHITECTURE = {"stacks": 2, "width": 16, "depth": 2}


@pytest.fixture
def encoder() -> LandmarkEncoder:
    torch.manual_seed(0)
    return LandmarkEncoder(3, 64, 16, **ARCHITECTURE)


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def write(path: Path, encoder: torch.nn.Module, **changes: Any) -> Path:
    facts: dict[str, Any] = dict(barycenter=SHAPE, scheme=SCHEME, image_size=64, map_size=16, architecture=ARCHITECTURE)
    save(path, encoder, **facts | changes)
    return path


def test_what_was_saved_is_loaded(tmp_path: Path, encoder: LandmarkEncoder) -> None:
    loaded = Detector.load(write(tmp_path / "d.safetensors", encoder, training={"mode": "unsupervised"}))
    assert loaded.scheme == SCHEME
    assert (loaded.image_size, loaded.map_size) == (64, 16)
    assert loaded.training == {"mode": "unsupervised"}
    np.testing.assert_array_equal(loaded.barycenter, SHAPE)
    saved = encoder.state_dict()
    for name, tensor in loaded.encoder.state_dict().items():
        torch.testing.assert_close(tensor, saved[name], rtol=0, atol=0)


def test_a_detector_is_shown_on_one_line(encoder: LandmarkEncoder) -> None:
    facts = (encoder, SHAPE, SCHEME, 64, 16)
    assert repr(Detector(*facts, {"mode": "supervised"})) == "Detector(3 landmarks, 64 px, maps 16 px, supervised)"
    assert "\n" not in repr(Detector(*facts))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, encoder: LandmarkEncoder) -> None:
    one, two = write(tmp_path / "1.safetensors", encoder), write(tmp_path / "2.safetensors", encoder)
    assert one.read_bytes() == two.read_bytes()


def test_points_are_those_of_the_encoder(tmp_path: Path, encoder: LandmarkEncoder, crops: np.ndarray) -> None:
    """Against the definition by hand: softmax over the pixels of the last stack, expectation of the pixel centres."""
    with torch.no_grad():
        for head in encoder.heads:
            head.weight.mul_(40)  # an untrained map is near-uniform, and every soft-argmax near the centre
    found = Detector.load(write(tmp_path / "d.safetensors", encoder)).points(crops)
    inputs = torch.from_numpy(crops.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = encoder.eval()(inputs)[-1].flatten(2).softmax(-1).view(5, 3, 16, 16).double().numpy()
    centres = (np.arange(16) + 0.5) / 16
    expected = np.stack([(maps.sum(2) * centres).sum(-1), (maps.sum(3) * centres).sum(-1)], -1)
    assert found.dtype == np.float32
    assert found.std(0).max() > 0.01, "the test would pass with constant answers"
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_batches_do_not_matter_and_there_may_be_none(
    tmp_path: Path, encoder: LandmarkEncoder, crops: np.ndarray
) -> None:
    loaded = Detector.load(write(tmp_path / "d.safetensors", encoder))
    np.testing.assert_allclose(loaded.points(crops, batch_size=2), loaded.points(crops), atol=1e-5)
    assert loaded.points(crops[:0]).shape == (0, 3, 2)


def test_the_encoder_is_frozen(tmp_path: Path, encoder: LandmarkEncoder) -> None:
    loaded = Detector.load(write(tmp_path / "d.safetensors", encoder)).encoder
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    "crops", [np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 64, 64, 3), np.float32), np.zeros((64, 64, 3), np.uint8)]
)
def test_other_images_are_refused(tmp_path: Path, encoder: LandmarkEncoder, crops: np.ndarray) -> None:
    with pytest.raises(BruleError, match=r"64, 64, 3\).*prepare"):
        Detector.load(write(tmp_path / "d.safetensors", encoder)).points(crops)


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """Change header and tensors of a detector's file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["brule"])
    tensors = load_file(path)
    change(header, tensors)
    save_file(tensors, path, {"brule": json.dumps(header)})


DAMAGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, torch.Tensor]], object], str]] = {
    "a later format": (lambda h, t: h.update(format=2), "it has format 2"),
    "no format": (lambda h, t: h.pop("format"), "it has format None"),
    "no scheme": (lambda h, t: h.pop("scheme"), "header is damaged"),
    "names too few": (lambda h, t: h["scheme"].update(names=["a", "b"], flip=None, edges=[]), "header is damaged"),
    "sizes that do not divide": (lambda h, t: h.update(map_size=24), "header is damaged"),
    "a size that is no number": (lambda h, t: h.update(image_size="64"), "header is damaged"),
    "a size beyond memory": (lambda h, t: h["encoder"].update(width=4000, depth=1), "weights do not match"),
    "another architecture": (lambda h, t: h["encoder"].update(stacks=1), "weights do not match"),
    "a missing tensor": (lambda h, t: t.pop("encoder.heads.0.weight"), "weights do not match"),
    "a crop of no size": (lambda h, t: h["framing"].update(fill=0), "header is damaged"),
    "half a framing": (lambda h, t: h["framing"].pop("lift"), "header is damaged"),
    "a framing that is none": (lambda h, t: h.update(framing=[0.7, 0.1]), "header is damaged"),
    "no barycenter": (lambda h, t: t.pop("barycenter"), "weights are damaged"),
    "NaN": (lambda h, t: t["encoder.heads.0.weight"].fill_(float("nan")), "weights are damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_detector_gets_one_sentence(tmp_path: Path, encoder: LandmarkEncoder, damage: str) -> None:
    path = write(tmp_path / "d.safetensors", encoder)
    change, sentence = DAMAGES[damage]
    rewrite(path, lambda header, tensors: (change(header, tensors), None)[1])
    with pytest.raises(BruleError, match=sentence) as caught:
        Detector.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_keeps_how_its_training_crops_were_framed(tmp_path: Path, encoder: LandmarkEncoder) -> None:
    path = write(tmp_path / "d.safetensors", encoder, framing=Framing(0.5, 0.1))
    assert Detector.load(path).framing == brule.load(path).framing == Framing(0.5, 0.1)
    rewrite(path, lambda header, tensors: header.pop("framing"))  # as it was before framings were written
    assert Detector.load(path).framing == DVE


def test_foreign_files_are_refused(tmp_path: Path, encoder: LandmarkEncoder) -> None:
    path = tmp_path / "d.safetensors"
    with pytest.raises(BruleError, match="no such file"):
        Detector.load(path)
    path.write_bytes(b"not a model at all")
    with pytest.raises(BruleError, match="not a whole safetensors file"):
        Detector.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(BruleError, match="not a brule detector"):
        Detector.load(path)
    whole = write(path, encoder).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BruleError, match="not a whole safetensors file"):
        Detector.load(path)
