"""Two processes of torchrun train as one does: the same numbers, one who writes, and an end and a resume for all."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from brule import config, files
from brule.data.schemes import Scheme
from brule.errors import BruleError
from brule.method import ranks
from brule.method.context import Optimisers
from brule.method.training import Training
from brule.stages.train import read_inputs, train

sys.path.insert(0, str(Path(__file__).parent))
import together
from test_numbers import CASES, ENCODER, JOINT, NAMES, SELF, SETTLED

ROOT = Path(__file__).parents[2]
Tiny = Callable[..., config.Config]
TRAIN = {"batch_size": 4, "gan_batch_size": 6, "r1_every": 2, "restore_every": 2}
"""Six images are more than the four among which D looks for variety."""
ROUNDING = 1e-3
"""Of the way that plain descent has come in a few steps. Whatever a process did on its own would be a larger share."""
TUNING = {"online": True, "iterations": 2, "tolerance": 0.4, "directions": 2, "continue": "latest"}
FAST = {"iterations": 3, "learning_rate": 0.03}


@pytest.fixture(autouse=True)
def _plain(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirrored images, some cropped unlike the shapes; plain descent; no MLflow."""
    manifest = json.loads((project / "data/crops/manifest.json").read_text())
    files.write_json(project / "data/crops/manifest.json", manifest | {"scheme": Scheme.plain(NAMES).to_json()})
    index = pd.read_csv(project / "data/crops/train/index.csv")
    index.assign(framed=np.arange(len(index)) % 3 > 0).astype({"framed": int}).to_csv(
        project / "data/crops/train/index.csv", index=False
    )
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(Optimisers, "build", together.plain)


def torchrun(what: str, *cases: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    kept = ["--redirects", "3", "--log-dir", "logs"]
    script = [str(ROOT / "tests/method/together.py"), what, *map(str, cases)]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([*launcher, *kept, *script], env=variables, capture_output=True, text=True, timeout=300)


def said(rank: int) -> str:
    """All that a process has written to stdout and stderr, in every start."""
    return "".join(path.read_text() for path in sorted(Path("logs").glob(f"*/*/{rank}/*.log")))


def written(settings: config.Config, name: str) -> Path:
    path = Path(f"{name}.json")
    path.write_text(settings.model_dump_json(by_alias=True))
    return path


def weights(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Network → all its weights in one row."""
    networks = {name: module for name, module in state["modules"].items() if "optimiser" not in name}
    return {
        n: torch.cat([x.flatten() for x in module.values() if x.is_floating_point()]) for n, module in networks.items()
    }


def strayed(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], start: dict[str, torch.Tensor]) -> float:
    """How far two runs are apart, as a share of how far they have come from their start: the worst of the networks."""
    assert one.keys() == two.keys()
    return max(float((one[n] - two[n]).norm() / (one[n] - start[n]).norm()) for n in one)


def numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not isinstance(value, str)}


def test_two_processes_take_the_steps_of_one(project: Path, tiny: Tiny) -> None:
    every = CASES["every switch"] | {"stages": {"joint": FAST | SELF}, "train": TRAIN}
    cases = {
        "semi": tiny(
            stages={"teach": FAST | ENCODER["teach"], "settle": FAST | SETTLED, "joint": FAST | JOINT},
            train=TRAIN | {"mode": "semi-supervised", "unlabelled": 4, "mirror": True},
            loss={"styles": 10},
        ),
        "every": tiny(**every),
    }
    run = torchrun("steps", *(written(settings, name) for name, settings in cases.items()))
    assert run.returncode == 0, said(0) + said(1)
    for name, settings in cases.items():
        start = weights(Training(settings, read_inputs(settings)[0], torch.device("cpu")).state())
        alone = together.stepped(settings, torch.device("cpu"))
        shared = torch.load(f"{name}.pt", weights_only=True)
        assert strayed(weights(alone), weights(shared), start) < ROUNDING
        torch.testing.assert_close(shared["calibration"], alone["calibration"], rtol=1e-4, atol=1e-6)
        assert shared["images"] == alone["images"]
        for row, other in zip(alone["history"], shared["history"], strict=True):
            assert numbers(row) == pytest.approx(numbers(other), rel=1e-3, abs=1e-6)


def test_a_killed_process_ends_all_and_the_next_start_resumes_in_two_processes_or_in_one(
    project: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny(train=TRAIN, machine={"sample_every": 3}, tuning=TUNING)
    case = written(settings, "whole")
    train(settings)
    alone, told = shipped(project), history(project)
    pictures = sorted(path.name for path in (project / "results/samples").iterdir())

    def remove_outputs() -> None:
        for folder in ("models", "results"):
            shutil.rmtree(project / folder)

    def assert_outputs_as_alone() -> None:
        assert shipped(project).keys() == alone.keys()
        torch.testing.assert_close(shipped(project), alone, rtol=1e-3, atol=1e-5)
        pd.testing.assert_frame_equal(history(project), told, rtol=1e-3, atol=1e-6)
        assert sorted(path.name for path in (project / "results/samples").iterdir()) == pictures

    remove_outputs()
    killed = torchrun("train", case, KILLED_AT="5")
    assert killed.returncode != 0 and not (project / "models").exists()
    assert "the same command resumes" in said(0)
    assert torch.load(next(Path(".resume").glob("*/state.pt")), weights_only=True)["iteration"] == 4
    shutil.copytree(".resume", "killed")
    resumed = torchrun("train", case)
    assert resumed.returncode == 0, said(0) + said(1)
    assert "resuming at iteration 4 of 8" in said(0)
    assert said(1) == "", "rank 0 alone writes, in the terminal, too"
    assert_outputs_as_alone()

    remove_outputs()
    shutil.copytree("killed", ".resume", dirs_exist_ok=True)
    capsys.readouterr()
    train(settings)
    assert "resuming at iteration 4 of 8" in capsys.readouterr().err
    assert_outputs_as_alone()


@pytest.mark.parametrize("given", [{}, {"RANK": "0"}, {"RANK": "1", "MASTER_ADDR": "localhost"}, {"LOCAL_RANK": "x"}])
def test_a_world_of_two_without_torchrun_trains_nothing_and_says_so(
    given: dict[str, str], project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BruleError, match=r"WORLD_SIZE .*start with torchrun"):
        train(tiny())
    assert not (project / "models").exists() and not (project / "results").exists()


def history(folder: Path) -> pd.DataFrame:
    """Without the alarms, whose sentences quote numbers."""
    return pd.read_csv(folder / "results/history.csv").drop(columns="alarms")


def shipped(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.stem}/{n}": t for path in (folder / "models").glob("*.safetensors") for n, t in load_file(path).items()
    }


def test_a_batch_that_cannot_be_shared_evenly_is_named(
    project: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 4)
    settings = tiny(train={"gan_batch_size": 6})
    with pytest.raises(BruleError, match=r"train\.gan_batch_size: 6 images .* 4 processes"):
        Training(settings, read_inputs(settings)[0], torch.device("cpu"))
