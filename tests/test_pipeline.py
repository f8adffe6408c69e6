"""dvc.yaml, params.yaml and experiments/: the table of contents holds together, and nothing turns DVC's caches off."""

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from brule import config
from brule.errors import BruleError
from brule.stages import experiments

ROOT = Path(__file__).parents[1]
PIPELINE: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES: dict[str, Any] = PIPELINE["stages"]
NAMES = list(experiments.catalogue(ROOT / "experiments"))
PLACE = "data.location=/a/b.zip"


def outputs(stage: str, kind: str = "") -> list[str]:
    """Paths that a stage writes; of one kind (outs, metrics, plots) or of all."""
    entries = [e for name in ("outs", "metrics", "plots") if kind in ("", name) for e in STAGES[stage].get(name, [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def upstream(stage: str) -> set[str]:
    return {other for other in STAGES for path in outputs(other) if path in STAGES[stage]["deps"]}


def flat(section: Any, prefix: str = "") -> set[str]:
    if not isinstance(section, dict):
        return {prefix}
    return set().union(*(flat(value, f"{prefix}.{key}".lstrip(".")) for key, value in section.items()))


def test_the_stages_follow_each_other() -> None:
    assert {stage: upstream(stage) for stage in STAGES} == {
        "download": set(),
        "prepare": {"download"},
        "barycenter": {"prepare"},
        "train": {"prepare", "barycenter"},
        "evaluate": {"prepare", "barycenter", "train"},
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_one_script_described_and_run_on_the_code_beside_it(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"PYTHONPATH=src python pipelines/{stage}.py"
    assert len(STAGES[stage]["desc"]) > 20
    assert (ROOT / "pipelines" / f"{stage}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_needs_is_there_or_made_before(stage: str) -> None:
    made = {path for other in upstream(stage) for path in outputs(other)}
    assert not [dep for dep in STAGES[stage]["deps"] if dep not in made and not (ROOT / dep).exists()]


def test_no_output_lies_in_another() -> None:
    paths = [Path(path) for stage in STAGES for path in outputs(stage)]
    assert not [(a, b) for a in paths for b in paths if a is not b and a.is_relative_to(b)]


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_turns_the_run_cache_off(stage: str) -> None:
    """`persist`, and `cache: false` on an out, do so without a word; `frozen` breaks a fresh clone."""
    assert "frozen" not in STAGES[stage]
    for kind in ("outs", "metrics", "plots"):
        for entry in STAGES[stage].get(kind, []):
            options = next(iter(entry.values())) if isinstance(entry, dict) else {}
            assert not options.get("persist")
            assert options.get("cache", True) or kind != "outs"


def test_only_the_small_result_files_live_in_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    metrics = [entry for stage in STAGES.values() for entry in stage.get("metrics", [])]
    uncached = [path for entry in metrics if isinstance(entry, dict) for path in entry]
    assert uncached == ["results/train.json", "results/metrics.json"]
    assert "results/run.json" in metrics, "what differs in every run is DVC's alone"
    assert {f"!/{path}" for path in uncached} <= set(ignored)
    tops = {path.split("/")[0] for stage in STAGES for path in outputs(stage, "outs")}
    assert all({f"/{top}/", f"/{top}/*"} & set(ignored) for top in tops)


def test_the_plots_are_made_by_the_pipeline() -> None:
    made = {path for stage in STAGES for path in outputs(stage)}
    for plot in PIPELINE["plots"]:
        files = [file for body in plot.values() for file in body["y"]] if isinstance(plot, dict) else [plot]
        assert all({file, str(Path(file).parent)} & made for file in files)


def test_a_plot_has_one_curve_for_each_run() -> None:
    """More, times the runs that `dvc plots diff` lays over each other, and nobody can tell them apart."""
    curves = [column for plot in PIPELINE["plots"] if isinstance(plot, dict) for column in plot.values()]
    assert curves and all(isinstance(column, str) for plot in curves for column in plot["y"].values())


def test_params_yaml_holds_every_number_but_switches_that_are_off() -> None:
    """DVC's `-S key=value` accepts only keys that stand in the file."""
    raw = experiments.workspace(ROOT)
    values = config.flatten(config.parse(raw))
    assert flat(raw) <= set(values)
    assert not {key: values[key] for key in set(values) - flat(raw) if values[key]}


@pytest.mark.parametrize("key", sorted(flat(experiments.workspace(ROOT))))
def test_every_number_is_asked_for(key: str) -> None:
    """params.yaml is the only place of defaults: the schema has none of its own."""
    raw = experiments.workspace(ROOT)
    *above, last = key.split(".")
    section = raw
    for name in above:
        section = section[name]
    del section[last]
    try:
        left_out = config.flatten(config.parse(raw))
    except BruleError as error:
        assert key in str(error)
    else:
        assert not left_out[key], "a switch is off where it is left out"


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_of_a_stage_are_parameters(stage: str) -> None:
    keys = flat(experiments.workspace(ROOT))
    assert not [p for p in STAGES[stage]["params"] if not any(key == p or key.startswith(f"{p}.") for key in keys)]


def test_the_experiments_of_the_readme_are_there() -> None:
    assert {
        *("smoke", "paper", "no-barycenter", "no-geometry", "celeba-unsupervised"),
        *("300w-unsupervised", "300w-semi-supervised", "300w-supervised", "300w-supervised-plain"),
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_explained_and_valid(name: str) -> None:
    raw = experiments.workspace(ROOT)
    overrides = experiments.load(ROOT / "experiments", name)
    wanted = experiments.merge(raw, overrides)
    wanted = experiments.merge(wanted, experiments.assignment(PLACE))
    if "extra" in wanted["data"]:
        wanted = experiments.merge(wanted, {"data.extra.location": "/a/c.zip"})
    config.parse(wanted, name)
    assert wanted != raw
    first = (ROOT / "experiments" / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith("# ") and len(first) > 30


def test_smoke_is_small() -> None:
    wanted = experiments.merge(experiments.workspace(ROOT), experiments.load(ROOT / "experiments", "smoke"))
    stages = config.parse(wanted).stages
    assert sum(stage.iterations for stage in stages.values()) <= 100
    assert any(stage.gan_every and stage.iterations for stage in stages.values())


def test_the_paper_experiment_has_the_numbers_of_the_paper() -> None:
    wanted = experiments.merge(experiments.workspace(ROOT), experiments.load(ROOT / "experiments", "paper"))
    paper = config.parse(experiments.merge(wanted, {"data.location": "/a"}))
    loss, train, optimiser = paper.loss, paper.train, paper.optimiser
    assert (loss.c1, loss.c2, loss.c3, loss.lambda_) == (30, 1e4, 30, 80)
    assert (loss.c5, loss.c6, loss.c7, loss.c8, loss.c9, loss.c10) == (20, 20, 1e5, 5, 10, 1)
    assert (loss.c11, loss.c12, loss.c13) == (1, 1, 1)
    assert (optimiser.generator_rate, optimiser.discriminator_rate, optimiser.style_rate) == (1e-3, 1.5e-3, 5e-4)
    assert (train.batch_size, train.r1_every, train.restore_every) == (24, 4, 5)
    joint = paper.stages["joint"]
    assert (joint.encoder_every, joint.gan_every, joint.learning_rate, joint.target) == (3, 1, 4e-5, "self")
    assert (paper.prepare.image_size, paper.model.map_size, paper.model.encoder.stacks) == (256, 64, 2)


def test_a_clone_is_ready_for_dvc() -> None:
    settings = ConfigParser()
    settings.read(ROOT / ".dvc" / "config")
    assert {key.strip(): value for key, value in settings["core"].items()} == {
        "analytics": "false",
        "check_update": "false",
        "autostage": "true",
    }
    assert {"__pycache__", ".resume", ".venv"} <= set((ROOT / ".dvcignore").read_text().split())


@pytest.mark.parametrize("path", [".ci/run", "scripts/smoke.sh", "scripts/gpu.sh"])
def test_the_scripts_of_the_workflows_can_be_run(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)
    assert "set -euo pipefail" in (ROOT / path).read_text()


@pytest.mark.parametrize(("workflow", "script"), [("ci", ".ci/run"), ("gpu", "scripts/gpu.sh")])
def test_the_workflows_call_what_also_runs_here(workflow: str, script: str) -> None:
    jobs = YAML(typ="safe").load(ROOT / ".github" / "workflows" / f"{workflow}.yml")["jobs"]
    assert any(script in step.get("run", "") for job in jobs.values() for step in job["steps"])


def test_the_collapse_experiment_takes_away_what_prevents_a_collapse() -> None:
    wanted = experiments.merge(experiments.workspace(ROOT), experiments.load(ROOT / "experiments", "collapse"))
    settings = config.parse(wanted)
    stages = [stage for stage in settings.stages.values() if stage.iterations]
    assert not settings.train.calibrate
    assert not any(stage.regularise for stage in stages), "no R_b"
    assert [stage.target for stage in stages] == ["barycenter", "teacher"]
    assert sum(stage.iterations for stage in stages) <= 600
    assert settings.train.validate_every <= 50, "a healthy validation must lie before the collapse"


@pytest.mark.parametrize("text", ["{}", "[]", '{"test": ', "null"])
def test_a_report_of_something_else_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "metrics.json").write_text(text)
    called = [sys.executable, str(ROOT / "pipelines" / "report.py")]
    told = subprocess.run(called, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True)
    assert told.returncode == 1 and told.stderr.count(b"\n") == 1 and b"dvc repro -f evaluate" in told.stderr


def test_the_heavy_imports_of_a_long_stage_come_where_ctrl_c_is_expected() -> None:
    """A KeyboardInterrupt among a script's own imports would be a traceback."""
    for stage in ("train", "evaluate"):
        code = f"import runpy, sys; runpy.run_path('pipelines/{stage}.py'); print('torch' in sys.modules)"
        environment = os.environ | {"PYTHONPATH": "src"}
        shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert shown.stdout == "False\n", shown.stderr


def test_what_says_how_a_run_works_makes_no_stage_run_again() -> None:
    """Devices, threads, logging intervals, MLflow's experiment: no stage depends on them."""
    listed = {param for stage in STAGES for param in STAGES[stage]["params"]}
    assert not [param for param in listed if param.split(".")[0] in ("machine", "tracking")]
    keys = flat(experiments.workspace(ROOT))
    read = {key for key in keys if any(key == param or key.startswith(f"{param}.") for param in listed)}
    assert {key.split(".")[0] for key in keys - read} == {"machine", "tracking"}


def test_the_models_are_named_as_artifacts() -> None:
    made = {path for stage in STAGES for path in outputs(stage)}
    named = {name: artifact["path"] for name, artifact in PIPELINE["artifacts"].items()}
    assert named == {"detector": "models/detector.safetensors", "gan": "models/gan.safetensors"}
    assert set(named.values()) <= made
    assert all(artifact["type"] == "model" for artifact in PIPELINE["artifacts"].values())
