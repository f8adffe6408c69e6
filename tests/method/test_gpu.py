"""The GPU's experiment, which no test machine can run as it is: its own parameters on the CPU, with few channels."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from brule import config
from brule.stages import experiments
from brule.stages.train import train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings() -> config.Config:
    """300w-unsupervised-gpu with its image and map sizes, stacks, stages, terms and precision, and nothing large."""
    overrides = experiments.load(ROOT / "experiments", "300w-unsupervised-gpu")
    wanted = experiments.merge(experiments.workspace(ROOT), overrides)
    small: dict[str, Any] = {
        "data.source": "synthetic",
        "train": {"batch_size": 2, "gan_batch_size": 2, "validate_every": 100, "ramp": 1},
        "machine": {"device": "cpu", "threads": 1},
        "model": {"gan": {"width": 4, "max_width": 8}, "style": {"size": 8, "width": 4, "latent": 8}},
        "model.encoder.width": 8,
    }
    for name, stage in wanted["stages"].items():
        small[f"stages.{name}.iterations"] = 4 if stage.get("gan_every") else min(2, stage["iterations"])
    return config.parse(experiments.merge(wanted, small))


def test_it_runs_through_all_its_stages(
    project: Path, settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for path in (project / "data/crops").glob("*/images.npy"):
        np.save(path, np.load(path).repeat(2, axis=1).repeat(2, axis=2))  # 128 px
    assert (settings.prepare.image_size, settings.model.map_size, settings.model.encoder.stacks) == (128, 64, 2)
    assert settings.machine.precision == "bfloat16"
    train(settings)
    assert all(tensor.isfinite().all() for tensor in load_file(project / "models/detector.safetensors").values())
    assert all(tensor.isfinite().all() for tensor in load_file(project / "models/gan.safetensors").values())
