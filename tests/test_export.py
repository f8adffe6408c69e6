"""The ONNX file answers what the detector answers, without brule and torch, and describes itself."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brule.data.crop import Framing
from brule.data.schemes import IBUG68, Scheme
from brule.detector import onnx as export
from brule.detector.model import Detector
from brule.detector.prediction import confidence as sharpness
from brule.errors import BruleError
from brule.maths import heatmaps
from brule.networks.hourglass import LandmarkEncoder

onnx = pytest.importorskip("onnx", reason="onnx is not installed; pip install -e '.[dev]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; pip install -e '.[dev]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed; pip install -e '.[dev]'")

SCHEME = Scheme(("a", "b left", "b right", "ü", "e, f"), (0, 2, 1, 3, 4), (1, 2), ((0, 1), (0, 2)))
TRAINING = {"mode": "unsupervised", "iteration": 1500, "initial": None, "of": {"ä": [1.5, "two"]}}


def detector(scheme: Scheme, image_size: int, map_size: int, **sizes: int) -> Detector:
    """Random weights, with maps that are peaked: it answers every difference in its input."""
    torch.manual_seed(0)
    encoder = LandmarkEncoder(len(scheme.names), image_size, map_size, **sizes).eval().requires_grad_(False)
    encoder.heads[-1].weight.mul_(40)
    barycenter = np.random.default_rng(0).random((len(scheme.names), 2), np.float32)
    return Detector(encoder, barycenter, scheme, image_size, map_size, TRAINING, sizes, Framing(0.6, -0.1))


DETECTORS: dict[str, Callable[[], Detector]] = {
    "68 landmarks, 1 stack": lambda: detector(IBUG68, 64, 16, stacks=1, width=16, depth=2),
    "5 landmarks, 2 stacks": lambda: detector(SCHEME, 32, 32, stacks=2, width=24, depth=3),
}


@pytest.fixture(scope="module", params=DETECTORS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Detector, Path, float]:
    """A detector, its file and the difference that was told."""
    model, path = DETECTORS[request.param](), tmp_path_factory.mktemp("export") / "folder" / "detector.onnx"
    return model, path, export.to_onnx(model, path)


def run(path: Path, images: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["points", "confidence"], {"images": images})


def crops(count: int, size: int, smooth: bool) -> np.ndarray:
    """Noise, or a wave in each colour."""
    rng = np.random.default_rng(count)
    if not smooth:
        return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    y, x = np.mgrid[:size, :size][..., None] / size
    across, down, shift = rng.uniform(-6, 6, (3, count, 1, 1, 3))
    return np.rint(127.5 + 127.5 * np.sin(across * x + down * y + shift)).astype(np.uint8)


@pytest.mark.parametrize("smooth", [False, True], ids=["noise", "smooth"])
@pytest.mark.parametrize("count", [1, 3, 32])
def test_the_file_answers_what_torch_answers(exported: tuple[Detector, Path, float], count: int, smooth: bool) -> None:
    model, path, _ = exported
    images = crops(count, model.image_size, smooth)
    points, confidence = run(path, images)
    assert points.dtype == confidence.dtype == np.float32
    assert points.shape == (count, len(model.scheme.names), 2) and confidence.shape == points.shape[:2]
    apart = model.image_size * np.linalg.norm(points - model.points(images), axis=-1)
    assert apart.max() < export.TOLERANCE
    assert points.std(axis=1).max() > 0.01, "a detector that answers the middle everywhere would prove nothing"
    L = model.log_maps(model.tensor(images)).exp()
    np.testing.assert_allclose(points, heatmaps.coordinates(L), atol=1e-4)
    np.testing.assert_allclose(confidence, sharpness(L), atol=1e-3)


def test_an_image_s_answer_does_not_depend_on_its_batch(exported: tuple[Detector, Path, float]) -> None:
    model, path, _ = exported
    images = crops(7, model.image_size, smooth=True)
    together = run(path, images)
    alone = [np.concatenate(each) for each in zip(*(run(path, image[None]) for image in images), strict=True)]
    np.testing.assert_allclose(together[0], alone[0], atol=1e-5)
    np.testing.assert_allclose(together[1], alone[1], atol=1e-4)


def test_the_metadata_say_what_the_detector_is(exported: tuple[Detector, Path, float]) -> None:
    model, path, _ = exported
    file = onnx.load(path)
    facts: dict[str, Any] = {each.key: json.loads(each.value) for each in file.metadata_props}
    assert Scheme.from_json(facts) == model.scheme
    assert facts["training"] == TRAINING
    assert facts["image_size"] == model.image_size
    assert Framing(**facts["framing"]) == model.framing
    np.testing.assert_array_equal(np.array(facts["barycenter"], np.float32), model.barycenter)
    assert f"{len(model.scheme.names)} landmarks" in file.doc_string and "crop units" in file.doc_string


def test_the_file_is_whole_and_knows_nothing_of_who_made_it(exported: tuple[Detector, Path, float]) -> None:
    _, path, _ = exported
    file = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(file, full_check=True)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    file.graph.ClearField("initializer")  # random numbers, which may spell anything
    assert b".py" not in file.SerializeToString() and str(Path.home()).encode() not in file.SerializeToString()


def test_the_same_detector_gives_the_same_file(exported: tuple[Detector, Path, float], tmp_path: Path) -> None:
    model, path, difference = exported
    assert export.to_onnx(model, tmp_path / "again.onnx") == difference < export.TOLERANCE
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("value", [float("nan"), 1.0])
def test_a_file_that_disagrees_with_torch_is_not_written(
    exported: tuple[Detector, Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    model, path, _ = exported
    monkeypatch.setattr(export, "_model", lambda _: onnx.load(path))
    points = Detector.points
    monkeypatch.setattr(Detector, "points", lambda self, images: points(self, images) + value / self.image_size)
    (tmp_path / "detector.onnx").write_text("mine")
    with pytest.raises(BruleError, match=r"detector.onnx: not written, .* px of the crop; install the versions"):
        export.to_onnx(model, tmp_path / "detector.onnx")
    assert (tmp_path / "detector.onnx").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_library_gets_one_sentence(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BruleError, match=rf"{library} is missing.*pip install -e '.\[onnx\]'"):
        export.to_onnx(DETECTORS["5 landmarks, 2 stacks"](), tmp_path / "detector.onnx")
    assert not list(tmp_path.iterdir())
