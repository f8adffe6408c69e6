"""benchmarks/gpu.py, rehearsed on the CPU: every kind of iteration is measured, and a run that is cut off says so."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from brule import config
from brule.errors import BruleError
from brule.maths import transport
from brule.stages import experiments

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import compositions
import flops
import gpu
import report

STAGE = {"target": "teacher", "warp": "prior", "regularise": True, "learning_rate": 1e-3}
STAGES = {"learn": STAGE | {"iterations": 6}, "joint": STAGE | {"iterations": 12, "gan_every": 2, "encoder_every": 3}}
KINDS = [("learn", "encoder"), ("joint", "encoder"), ("joint", "GAN, D, R1, I_R"), ("joint", "GAN, D, I_R")]


@pytest.fixture(scope="module")
def wanted() -> config.Config:
    chosen = experiments.merge(experiments.workspace(gpu.ROOT) | {"stages": STAGES}, gpu.TINY)
    more = {"machine": {"device": "cpu", "precision": "float32", "threads": 1}, "train.r1_every": 3}
    more["train.adversarial_every"] = None
    return config.parse(experiments.merge(chosen, more))


@pytest.fixture(scope="module")
def run(wanted: config.Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str, str]:
    """(the JSON, what was printed, the README) of a rehearsal in which POT must not be needed."""
    folder = tmp_path_factory.mktemp("gpu")
    readme = folder / "README.md"
    readme.write_text(gpu.README.read_text(encoding="utf-8"), encoding="utf-8")
    options = ["--device", "cpu", "--tiny", "--iterations", "1", "--seconds", "1e6", "--parameters", "one", "--readme"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "parameters", lambda *_: wanted)
        patch.setattr(gpu, "README", readme)
        patch.setattr(transport, "ot", None)
        patch.setattr(sys, "argv", ["gpu.py", *options, "--json", str(folder / "gpu.json")])
        said: list[str] = []
        patch.setattr(report, "printed", lambda setting, sections: said.extend(section.title for section in sections))
        with pytest.raises(SystemExit) as exit_:
            gpu.main()
        assert not exit_.value.code
    return json.loads((folder / "gpu.json").read_text()), "\n".join(said), readme.read_text(encoding="utf-8")


def test_every_kind_of_iteration_of_every_stage_is_measured(run: tuple[dict, str, str]) -> None:
    result, said, _ = run
    found = result["configurations"]["one"]
    assert result["peak"] > 0
    assert [(row["stage"], row["kind"]) for row in found["kinds"]] == KINDS and not found["left_out"]
    assert [row["share"] for row in found["kinds"]] == pytest.approx([1, 1 / 3, 1 / 6, 1 / 3])
    assert {row["images"] for row in found["kinds"]} == {4}
    assert all(row["seconds"] > 0 and row["first"] > 0 and row["kernels"] is None for row in found["kinds"])
    assert found["start"] > 0 and all(row["plain"] > 0 for row in found["kinds"])
    assert said.startswith("one: 64 px, batches of 4 and 4, float32") and "stopped before" not in said


def test_the_operations_are_those_of_a_run(run: tuple[dict, str, str], wanted: config.Config) -> None:
    rows = run[0]["configurations"]["one"]["kinds"]
    total = sum(1e12 * row["tflop"] * row["share"] * STAGES[row["stage"]]["iterations"] for row in rows)
    assert total == pytest.approx(flops.flops(wanted, compositions.inputs(64), torch.device("cpu")), rel=1e-9)


def test_the_tables_go_between_the_readme_s_markers(run: tuple[dict, str, str]) -> None:
    text = run[2]
    assert gpu.README.read_text(encoding="utf-8").count("<!-- gpu -->\n") == 1
    lines = text[text.index("<!-- gpu -->") : text.index("<!-- /gpu -->")].splitlines()
    assert [line.split(" |")[0] for line in lines if line.startswith("| ")][:7] == [
        *("| stage", "| ---", "| learn", "| joint"),
        *("| · encoder", "| · GAN, D, R1, I_R", "| · GAN, D, I_R"),
    ]


def test_it_stops_in_time_and_says_what_is_missing(wanted: config.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(gpu.measured(wanted, 1, deadline=0.0)) == []
    clock = iter(range(10**6))  # a second passes at every look at it
    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    (last,) = gpu.measured(wanted, 50, deadline=5.5)
    assert [row["kind"] for row in last["kinds"]] == ["encoder"] and last["kinds"][0]["iterations"] == 1
    table = gpu.section("one", last, 1.0)
    assert "stopped before joint: encoder, joint: GAN, D, R1, I_R, joint: GAN, D, I_R" in table.title
    assert [row[0] for row in table.rows] == ["learn"]


def test_as_many_are_timed_as_take_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], [0]
    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def step() -> None:
        now[0], calls[0] = now[0] + 0.125, calls[0] + 1

    cpu = torch.device("cpu")
    assert gpu.timed(step, cpu, 50) == (0.125, 8) and calls == [9]
    assert gpu.timed(step, cpu, 3) == (0.125, 3) and calls == [13]


def test_one_configuration_that_fails_leaves_the_others_and_what_it_had(
    wanted: config.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = gpu.measured

    def failing(chosen: config.Config, *words: float) -> Iterator[dict]:
        yield next(measured(chosen, *words))
        if chosen is wanted:
            raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(gpu, "measured", failing)
    monkeypatch.setattr(gpu, "parameters", lambda name, *_: wanted if name == "one" else wanted.model_copy())
    words = ["--device", "cpu", "--tiny", "--iterations", "1", "--parameters", "one", "two", "--json"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words, str(tmp_path / "gpu.json")])
    with pytest.raises(SystemExit) as exit_:
        gpu.main()
    assert exit_.value.code == 1 and "one: failed: out of memory" in capsys.readouterr().err
    found = json.loads((tmp_path / "gpu.json").read_text())["configurations"]
    assert [len(each["kinds"]) for each in found.values()] == [1, 1] and list(found) == ["one", "two"]


def test_a_stage_of_which_a_kind_is_missing_has_no_mean(run: tuple[dict, str, str]) -> None:
    whole = run[0]["configurations"]["one"]
    part = whole | {"kinds": whole["kinds"][:3], "left_out": [list(KINDS[3])]}
    rows = {row[0]: row[1:] for row in gpu.section("one", part, 1.0).rows}
    assert set(rows["joint"]) == {"–"} and rows["learn"][0] != "–" != rows["· encoder"][0]


def test_the_mean_of_a_stage_goes_by_the_shares_of_its_kinds() -> None:
    one = {"stage": "joint", "kind": "GAN", "share": 1 / 3, "images": 6, "tflop": 3.0, "first": 2.0}
    one |= {"seconds": 0.3, "plain": 0.6}
    one |= {"busy": 0.03, "kernels": 300.0, "waits": 3.0}
    two = one | {"share": 1.0, "seconds": 0.1, "first": 1.0, "plain": 0.2, "busy": 0.05}
    mean = gpu.mean([one, two])
    assert (mean["images"], mean["tflop"], mean["first"]) == pytest.approx((8, 4, 3))
    assert (mean["seconds"], mean["busy"]) == pytest.approx((0.2, 0.06))
    assert gpu.section("x", {"kinds": [one, two], **REST}, 40.0).rows[0] == (
        *("joint", "200.0", "40", "20", "20", "50.0 %", "30 %", "400", "4", "3.0"),
    )


REST = {"left_out": [], "image_size": 64, "batch_sizes": [6, 6], "precision": "bfloat16", "start": 1.0}


def event(key: str, device: str, count: int, microseconds: float = 0.0, named: bool = False) -> SimpleNamespace:
    place = SimpleNamespace(name=device)
    return SimpleNamespace(
        key=key, device_type=place, count=count, self_device_time_total=microseconds, is_user_annotation=named
    )


def test_the_profiler_s_events_become_busy_seconds_kernels_and_waits() -> None:
    events = [
        event("conv", "CUDA", 10, 3000.0),
        event("Memcpy HtoD (Pinned -> Device)", "CUDA", 4, 500.0),
        event("Optimizer.step#AdamW.step", "CUDA", 2, 900.0, named=True),
        event("cudaLaunchKernel", "CPU", 10),
        event("cudaStreamSynchronize", "CPU", 6),
    ]
    assert gpu.work(events, 2) == {"busy": pytest.approx(1.75e-3), "kernels": 5, "waits": 3}
    assert set(gpu.work(events[3:], 2).values()) == {None}


def test_names_are_params_yaml_and_the_experiments() -> None:
    for name, size in (("default", 64), ("300w-unsupervised-gpu", 128), ("paper", 256)):
        found = gpu.parameters(name, "cpu", batch=5, tiny=False)
        assert (found.prepare.image_size, found.machine.device) == (size, "cpu")
        assert found.train.batch_size == found.train.gan_batch_size == 5
        assert gpu.parameters(name, "cpu", None, tiny=True).model.encoder.width == 8
    with pytest.raises(BruleError, match=r"papre\.yaml does not exist; did you mean paper\?"):
        gpu.parameters("papre", "cpu", None, tiny=False)
