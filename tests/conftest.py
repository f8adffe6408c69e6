"""A tiny run: 64 px images of coloured discs, five landmarks, networks of a few channels."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brule import config
from brule.data.schemes import Scheme

SHAPE = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]], np.float32)


def write_crops(folder: Path, counts: dict[str, int], seed: int = 0) -> None:
    """A prepared data set whose landmarks are the centres of five discs."""
    rng = np.random.default_rng(seed)
    scheme = Scheme.plain([f"point {i}" for i in range(5)])
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    every = []
    for split, count in counts.items():
        landmarks = SHAPE + rng.normal(0, 0.03, (count, 5, 2)).astype(np.float32)
        images = np.full((count, 64, 64, 3), 90, np.uint8)
        for image, points in zip(images, landmarks, strict=True):
            for k, (px, py) in enumerate(points):
                image[(x - px) ** 2 + (y - py) ** 2 < 0.06**2] = (40 * k, 255 - 40 * k, 128)
        (folder / split).mkdir(parents=True)
        np.save(folder / split / "images.npy", images)
        np.save(folder / split / "landmarks.npy", landmarks)
        names = [f"{split}{i}" for i in range(count)]
        index = pd.DataFrame({"name": names, "source": "discs", "group": names, "labelled": 1, "framed": 1})
        index.to_csv(folder / split / "index.csv", index=False)
        every.append(landmarks)
    shapes = every[0][np.lexsort(every[0].reshape(len(every[0]), -1).T[::-1])]
    np.save(folder / "shapes.npy", shapes)
    manifest = {"scheme": scheme.to_json(), "image_size": 64, "source": "discs", "licence": "none", "counts": counts}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    np.save(folder.parent / "barycenter.npy", shapes.mean(0))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with prepared faces, as the `train` stage finds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write_crops(tmp_path / "data" / "crops", {"train": 24, "validation": 8, "test": 8})
    return tmp_path


@pytest.fixture
def tiny() -> Callable[..., config.Config]:
    """`tiny(loss={...}, train={...}, model={...})`: the smallest configuration, with these overrides."""

    def build(**overrides: dict[str, object]) -> config.Config:
        stages = {
            "warm": {"iterations": 3, "target": "barycenter", "regularise": False, "warp": "strong"},
            "joint": {
                **{"iterations": 5, "gan_every": 1, "encoder_every": 2, "target": "teacher", "warp": "strong"},
                **{"modes": 2, "keep": 0.5},
            },
        }
        raw: dict[str, dict[str, object]] = {
            "warp": {"paper": {}, "strong": {"amplitude": 1.0}},
            "model": {
                "map_size": 16,
                "encoder": {"stacks": 2, "width": 8, "depth": 2},
                "generator": {"width": 4, "max_width": 8},
                "discriminator": {"width": 4, "max_width": 8},
                "style": {"size": 8, "width": 4, "latent": 8, "depth": 2},
            },
            "loss": {"cycle": 1, "decorrelation": 0.1, "mismatch": 0.5},
            "train": {
                "stages": stages,
                "batch_size": 4,
                "gan_batch_size": 4,
                "ramp": 1,
                "threads": 1,
                "device": "cpu",
                "log_every": 2,
                "validate_every": 4,
                "sample_every": 100,
                "save_every": 2,
            },
        }
        for section, values in overrides.items():
            raw.setdefault(section, {}).update(values)
        return config.parse(raw)

    return build


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: MLflow takes seconds to make one."""
    mlflow = pytest.importorskip("mlflow")
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder with an empty store, seen from a DVC stage that runs in a copy elsewhere."""
    for variable in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_STAGE"):
        monkeypatch.delenv(variable, raising=False)
    project, copy = tmp_path / "project", tmp_path / "copy"
    project.mkdir(), copy.mkdir()
    shutil.copy(template, project)
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(copy)
    yield project
    assert not list(copy.iterdir()), "nothing of MLflow lands in the copy"
