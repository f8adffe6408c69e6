"""A store of MLflow, made once, and runs that the project's own code writes into it."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from brule import config, tracking

pytest.importorskip("mlflow")
ROOT = Path(__file__).parents[2]
Track = Callable[..., str]


@pytest.fixture
def store(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store in the working folder, which also has the real table and the real experiments."""
    for variable in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_STAGE", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return Path(shutil.copy(template, tmp_path))


@pytest.fixture(scope="session", name="config")
def committed() -> config.Config:
    """params.yaml as committed."""
    return config.read(ROOT / "params.yaml")


@pytest.fixture
def track(store: Path) -> Track:
    """`track(name, {metric: {step: value}}, tags=…, params=…)`: a finished run of that name; returns its id."""
    settings = config.read(ROOT / "params.yaml")

    def write(
        name: str,
        metrics: Mapping[str, Mapping[int, float]] = {},
        tags: Mapping[str, str] = {},
        params: Mapping[str, Any] = {},
        pictures: Mapping[int, Path] = {},
    ) -> str:
        with tracking.run(settings, "train", name=name, tags=tags) as run:
            run.params(params)
            for metric, course in metrics.items():
                for step, value in course.items():
                    run.metrics({metric: value}, step)
            for step, path in pictures.items():
                run.image(path, "samples", step)
        assert run.id is not None
        return run.id

    return write
