"""Training and evaluation look at the same images in the same way, so they agree about a collapse."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brule import config
from brule.detector.model import Detector
from brule.maths import monitors
from brule.stages.evaluate import evaluate
from brule.stages.train import train


def test_evaluate_finds_the_alarms_that_train_found(
    project: Path, tiny: Callable[..., config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only some held-out images have landmarks: the monitors, which need none, take all of them into account."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for split in ("validation", "test"):
        path = project / f"data/crops/{split}/landmarks.npy"
        landmarks = np.load(path)
        landmarks[2:] = np.nan
        np.save(path, landmarks)
    settings = tiny(evaluate={"batch_size": 3, "overlays": 4})
    train(settings)
    trained = json.loads((project / "results/train.json").read_text())
    report = evaluate(settings)
    for name in monitors.LIMITS:
        assert report["monitors"][name] == pytest.approx(trained["validation"][name], rel=1e-4, abs=1e-6), name
    ended = [trained["collapsed"]["sentence"]] if trained["collapsed"] else []
    assert trained["alarms"] and report["alarms"] == ended + trained["alarms"], "so young an encoder has some"
    assert report["validation"]["nme"] == pytest.approx(trained["validation"]["nme"], rel=1e-4)
    assert (report["test"]["images"], report["validation"]["images"]) == (2, 2)

    facts = Detector.load(project / "models/detector.safetensors").training
    wanted = {"source": "synthetic", "images": 24, "labelled": 0, "shapes": 24}
    assert {name: facts[name] for name in wanted} == wanted
    card = (project / "models/README.md").read_text()
    assert "Trained (unsupervised) on 24 images of `synthetic` without their landmarks and 24 unpaired shapes." in card
    assert "the test error rests on 2 photos and the validation error rests on 2 photos" in card
