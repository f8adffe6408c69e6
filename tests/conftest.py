"""A tiny run: 64 px images of coloured discs, five landmarks, networks of a few channels. And what CI may not skip."""

import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

from brule import config
from brule.data.crop import DVE
from brule.data.schemes import Scheme
from brule.maths.family import PAPER
from brule.stages import experiments

ROOT = Path(__file__).parents[1]

# Without a GPU, Triton acts its kernels out. It looks at this when it is imported, which parts of torch do.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The same examples every time: a test that fails today failed at the commit that broke it.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# The server that forks processes for tests loads the libraries once.
get_context("forkserver").set_forkserver_preload(["brule.stages.study", "brule.stages.train", "torch._dynamo"])
torch.set_num_threads(1)  # as in the processes that tests start: with another number sums are rounded otherwise


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What a stage set for itself ends with its test."""
    yield
    torch.set_num_threads(1)


MISSING = re.compile("not installed|could not import")
"""Why a test is skipped that needs a program or a library. Other reasons lie in the machine: it has no GPU."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return demanded((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return demanded((yield))


def demanded(report: Any) -> Any:
    """In CI, where everything is to be installed, a skip for want of it is a failure."""
    reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and os.environ.get("CI") == "true" and MISSING.search(reason):
        report.outcome, report.longrepr = "failed", f"{report.nodeid} may not be skipped in CI. {reason}"
    return report


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
    manifest |= {"framing": DVE._asdict()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    np.save(folder.parent / "barycenter.npy", shapes.mean(0))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with prepared faces, as the `train` stage finds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write_crops(tmp_path / "data" / "crops", {"train": 24, "validation": 8, "test": 8})
    return tmp_path


TINY: dict[str, Any] = {
    "prepare": {"image_size": 64},
    "warp": {"paper": vars(PAPER), "strong": vars(replace(PAPER, amplitude=1.0))},
    "model": {
        "map_size": 16,
        "condition_sigma": 1.5,
        "encoder": {"stacks": 1, "width": 8, "depth": 2},
        "gan": {"width": 4, "max_width": 8},
        "style": {"size": 8, "width": 4, "latent": 8, "depth": 2},
    },
    "loss": {
        **{"c1": 30, "c2": 1e4, "c3": 30, "lambda": 80, "mismatch": 0.5, "styles": None},
        **{"c5": 20, "c6": 20, "c6_entropy": 1e3, "c6_coordinates": 0.3, "two_sided": True, "c7": 1e5},
        **{"c8": 5, "c9": 10, "c10": 1, "cycle": 1, "decorrelation": 0.1},
        "tolerances": {"translation": 3e-3, "affine": 6e-4, "warp": 2e-3},
    },
    "train": {
        **{"batch_size": 4, "gan_batch_size": 4, "r1_every": 4, "restore_every": 5, "ramp": 1, "mirror": False},
        **{"validate_every": 4, "adversarial_every": None},
    },
    "stages": {
        "warm": {"iterations": 3, "target": "barycenter", "regularise": False, "warp": "strong"},
        "joint": {
            **{"iterations": 5, "gan_every": 1, "encoder_every": 2, "target": "teacher", "warp": "strong"},
            **{"modes": 2, "keep": 0.5},
        },
    },
    "optimiser": {
        **{"ema": 0.998, "generator_ema": 0.998, "momentum": 0},
        **{"generator_rate": 1e-3, "discriminator_rate": 1.5e-3, "style_rate": 5e-4},
    },
    "machine": {
        **{"threads": 1, "device": "cpu", "precision": "float32"},
        **{"log_every": 2, "sample_every": 100, "save_every": 2},
    },
}
"""What the smallest run has in place of the values of params.yaml."""
STAGE = {"learning_rate": 1e-3, "target": "self", "regularise": True, "warp": "paper"}
"""What a test's stage has where the test is silent."""


def parameters(**overrides: dict[str, Any]) -> dict[str, Any]:
    """The smallest params.yaml, with these overrides. Stages are replaced as a whole."""
    base = experiments.workspace(ROOT)
    wanted = dict(TINY) | {"stages": overrides.pop("stages", TINY["stages"])}
    raw = experiments.merge(base | {"stages": {}, "warp": {}}, wanted)
    raw = experiments.merge(raw, overrides)
    raw["stages"] = {name: STAGE | stage for name, stage in raw["stages"].items()}
    return raw


@pytest.fixture
def tiny() -> Callable[..., config.Config]:
    """`tiny(loss={...}, stages={...}, model={...})`: `parameters` of these, checked."""
    return lambda **overrides: config.parse(parameters(**overrides))


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
