"""benchmarks/inference.py: every candidate answers the same crops, and the table says how soon and how near."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from brule import config
from brule.stages import experiments

pytest.importorskip("onnx", reason="onnx is not installed; pip install -e '.[dev]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; pip install -e '.[dev]'")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import inference
import report

SMALL = {"prepare.image_size": 64, "model": {"map_size": 16, "encoder": {"width": 8, "depth": 1}}}
TINY = experiments.merge(experiments.workspace(Path(__file__).parents[1]), SMALL)


@pytest.fixture(scope="module")
def result() -> dict:
    return inference.measure(inference.untrained(config.parse(TINY)), threads=1, repeats=1)


def test_every_candidate_is_timed_and_compared(result: dict) -> None:
    names = ["torch, float32", "torch, bfloat16 autocast", "ONNX Runtime"]
    assert list(result["distances"]) == names
    assert {batch: list(seconds) for batch, seconds in result["seconds"].items()} == {"1": names, "32": names}
    assert min(value for seconds in result["seconds"].values() for value in seconds.values()) > 0
    assert result["distances"]["torch, float32"] == (0, 0)
    largest, mean = result["distances"]["ONNX Runtime"]
    assert 0 < mean < largest < 0.05


def test_distances_are_pixels_of_the_crop() -> None:
    points = np.array([[[0.0, 0.0], [0.5, 0.5]]], np.float32)
    moved = points + np.array([[[0, 0], [3 / 64, 4 / 64]]], np.float32)
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    assert inference.distances({"a": lambda _: points, "b": lambda _: moved}, crops)["b"] == (5, 2.5)


def test_the_table_goes_between_the_readme_s_markers(result: dict) -> None:
    result = json.loads(json.dumps(result))
    text = inference.README.read_text(encoding="utf-8")
    filled = report.written(text, "inference", inference.setting(result), [inference.section(result)])
    assert "an untrained detector of 68 landmarks on crops of 64 × 64 px." in filled
    assert "| ONNX Runtime | " in filled and " | untrained | untrained |" in filled
    trained = inference.section(result | {"trained": True}).rows
    assert trained[0][-2:] == ("–", "–") and 0 < float(trained[2][-1]) <= float(trained[2][-2])
    assert trained[0][2] == "1.00"
