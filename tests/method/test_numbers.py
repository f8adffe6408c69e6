"""The numbers of the method: five iterations of every stage, mode and switch, against those that are committed.

A change that is meant to move them raises brule.method.VERSION, and `make numbers` writes numbers.json anew.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brule import config, files, method
from brule.data.schemes import Scheme
from brule.method.training import Training
from brule.stages.train import read_inputs

COMMITTED = Path(__file__).with_name("numbers.json")
TOLERANCE = 2e-3
"""Relative. Processors differ in the order of their sums; five iterations let that grow to some 1e-4."""
NAMES = ["left eye", "right eye", "nose", "left corner", "right corner"]
SETTLED = {"target": "teacher", "modes": 2, "keep": 0.25, "view": "paper", "warp": "strong", "regularise": False}
ENCODER = {
    "warm": {"target": "barycenter", "warp": "strong", "regularise": False},
    "teach": {"target": "teacher", "project": True, "warp": "strong", "regularise": False},
    "settle": SETTLED,
}
JOINT = SETTLED | {"gan_every": 1, "encoder_every": 1, "regularise": True}
SELF = {"target": "self", "gan_every": 1, "warp": "paper"}
CASES: dict[str, dict[str, Any]] = {
    "unsupervised": {"stages": ENCODER | {"joint": JOINT}, "train": {"mirror": True}},
    "the paper's": {
        "stages": {"warm": ENCODER["warm"], "joint": SELF},
        "loss": {"coupling": "ot", "two_sided": None, "cycle": None, "decorrelation": None, "mismatch": None},
        "train": {"calibrate": False},
    },
    "every switch": {
        "stages": {"joint": SELF},
        "model": {"raw_condition": True},
        "loss": {"fake_gradient": True, "detach_affine": True, "alignment": "similarity"},
        "train": {"adversarial_every": 2, "restore_every": 1},
    },
    "semi-supervised": {
        "stages": {"settle": SETTLED, "joint": JOINT},
        "train": {"mode": "semi-supervised", "unlabelled": 4},
    },
    "supervised": {"stages": {"joint": JOINT}, "train": {"mode": "supervised"}},
    "small images, tied styles": {
        "seed": 1,  # with 0, the rounding of a sum decides a step, and processors differ
        "stages": {"warm": ENCODER["warm"] | {"image_size": 32}, "joint": JOINT},
        "loss": {"styles": 10},
        "train": {"adversarial_every": 2, "restore_every": 1},
    },
}


def means(settings: config.Config) -> dict[str, dict[str, float]]:
    """{stage: {loss: its mean over the stage's iterations, validation's scores}}."""
    inputs, _ = read_inputs(settings)
    training = Training(settings, inputs, torch.device("cpu"))
    found: dict[str, dict[str, float]] = {}
    while not training.over:
        moment = training.schedule.at(training.iteration)
        training.step(moment)
        if training.iteration % 5 == 0:
            found[moment.name] = training.means()
    training.validate(moment)
    found["validation"] = {name: value for name, value in training.history[-1].items() if isinstance(value, float)}
    return {stage: {name: float(f"{value:.6g}") for name, value in row.items()} for stage, row in found.items()}


@pytest.fixture
def numbers(project: Path, tiny: Callable[..., config.Config]) -> dict[str, Any]:
    manifest = json.loads((project / "data/crops/manifest.json").read_text())
    files.write_json(project / "data/crops/manifest.json", manifest | {"scheme": Scheme.plain(NAMES).to_json()})
    found = {}
    for name, case in CASES.items():
        stages = {stage: {"iterations": 5} | values for stage, values in case["stages"].items()}
        model = case.get("model", {}) | {"encoder": {"stacks": 2}}
        found[name] = means(tiny(**case | {"stages": stages, "model": model}))
    return found


def test_the_numbers_of_the_method_are_the_committed_ones(numbers: dict[str, Any]) -> None:
    if os.environ.get("WRITE_NUMBERS"):
        files.write_json(COMMITTED, {"version": method.VERSION, "means": numbers})
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert committed["version"] == method.VERSION, "numbers.json is of another VERSION: write it anew, make numbers"
    moved = list(differences(committed["means"], numbers))
    assert not moved, (
        "the numbers of the method changed; if that is meant, raise VERSION in src/brule/method/__init__.py, then "
        f"`make numbers`:\n{chr(10).join(moved[:10])}"
    )


def differences(committed: dict[str, Any], numbers: dict[str, Any]) -> list[str]:
    """A line for each number that is new, gone or moved."""
    old, new = flat(committed), flat(numbers)
    lines = [f"{name} is {'new' if name in new else 'gone'}" for name in sorted(old.keys() ^ new.keys())]
    shared = [name for name in old if name in new]
    apart = [n for n in shared if not math.isclose(old[n], new[n], rel_tol=TOLERANCE, abs_tol=1e-5)]
    return lines + [f"{name}: {old[name]:.6g} became {new[name]:.6g}" for name in apart]


def flat(nested: dict[str, Any]) -> dict[str, float]:
    rows = ((case, stage, name) for case in nested for stage in nested[case] for name in nested[case][stage])
    return {f"{case}, {stage}, {name}": nested[case][stage][name] for case, stage, name in rows}
