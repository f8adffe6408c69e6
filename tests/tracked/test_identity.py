"""What `train` notes in MLflow is what the table looks for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brule import config, identity
from brule.stages import train as trainer
from brule.tracking import past as reading

Tiny = Callable[..., config.Config]


def test_a_training_says_what_it_computes_and_from_what(
    project: Path, template: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(template, project)
    stages = {"warm": {"iterations": 1, "target": "barycenter", "regularise": False, "warp": "strong"}}
    settings = tiny(prepare={"image_size": 64}, train={"stages": stages})
    trainer.train(settings)
    shutil.move("models/detector.safetensors", "start.safetensors")
    again = tiny(
        prepare={"image_size": 64}, train={"stages": stages, "initial": "start.safetensors", "precision": "float32"}
    )
    trainer.train(again)
    second, first = reading.read().finished()
    content = identity.content(Path(), settings, identity.code(Path(identity.__file__).parent))
    assert first.tags["content"] == second.tags["content"] == content, (
        "neither its start nor how it runs is what it computes"
    )
    assert first.tags["weights"] == identity.sha(Path("start.safetensors").read_bytes()) == second.tags["initial"]
    assert "initial" not in first.tags
    told = json.loads(Path("results/train.json").read_text())
    assert (second.metrics["final/seconds"], second.metrics["final/threads"]) == (told["seconds"], told["threads"])
    other = tiny(prepare={"image_size": 64}, train={"stages": stages}, loss={"c7": 3.0})
    assert identity.content(Path(), other, "code") != identity.content(Path(), settings, "code")


def test_a_stage_without_iterations_is_as_good_as_not_there(tiny: Tiny) -> None:
    stages = {"warm": {"iterations": 1, "target": "barycenter", "warp": "strong"}}
    contents = {
        rate: identity.content(
            Path(), tiny(train={"stages": stages | {"joint": {"iterations": count, "learning_rate": rate}}}), "code"
        )
        for count, rate in ((0, 1e-3), (0, 2e-3), (5, 3e-3))
    }
    plain = identity.content(Path(), tiny(train={"stages": stages}), "code")
    assert plain == contents[1e-3] == contents[2e-3] != contents[3e-3]
