"""Parameters are numbers where they look like numbers, and a wrong key is named."""

from pathlib import Path
from typing import Any

import pytest

from brule import config
from brule.errors import BruleError
from brule.stages import experiments

ROOT = Path(__file__).parents[1]
STAGE = {"iterations": 10, "learning_rate": 1e-3, "target": "self", "warp": "paper"}


def minimal(**sections: Any) -> dict[str, Any]:
    """params.yaml with one stage and the paper's family alone, and some sections changed or replaced."""
    base = experiments.workspace(ROOT)
    base |= {"warp": {"paper": base["warp"]["paper"]}, "stages": {"main": STAGE}}
    return {name: _under(base.get(name), sections.pop(name, base.get(name))) for name in base} | sections


def _under(there: Any, wanted: Any) -> Any:
    return there | wanted if isinstance(there, dict) and isinstance(wanted, dict) and wanted else wanted


def test_the_project_s_own_file_is_valid():
    parameters = config.read(ROOT / "params.yaml")
    assert parameters.data.source == "synthetic"
    assert parameters.train.mode == "unsupervised"


@pytest.mark.parametrize(("text", "number"), [("1e-5", 1e-5), ("1e5", 1e5), ("2E+4", 2e4), ("1e-05", 1e-5)])
def test_exponents_are_numbers(tmp_path: Path, text: str, number: float):
    path = tmp_path / "params.yaml"
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    numbers = {"  c7:": f"  c7: {text}", "  lambda:": f"  lambda: {text}"}
    path.write_text("\n".join(numbers.get(f"{line.partition(':')[0]}:", line) for line in lines), encoding="utf-8")
    loss = config.read(path).loss
    assert (loss.c7, loss.lambda_) == (number, number)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"loss": {"c77": 1}}, r"p\.yaml: loss\.c77 is not a parameter; did you mean loss\.c7\?"),
        ({"qqqqqqqq": 1}, r"qqqqqqqq is not a parameter; see params\.yaml"),
        ({"loss": {"c7": -1}}, r"loss\.c7 = -1: "),
        ({"loss": {"c7": float("inf")}}, r"loss\.c7 = inf: "),
        ({"loss": {"c7": "much"}}, r"loss\.c7 = 'much': "),
        ({"loss": {"coupling": "sinkhorn"}}, r"loss\.coupling = 'sinkhorn': "),
        ({"prepare": {"image_size": 100}}, r"prepare\.image_size = 100: "),
        ({"prepare": {"validation": 1.5}}, r"prepare\.validation = 1\.5: "),
        ({"data": {"source": "300w"}}, r"data\.location is empty but data\.source is '300w'; set data\.location"),
        ({"data": {"source": "imagenet"}}, r"data\.source = 'imagenet': "),
        ({"data": {"extra": {"source": "celeba", "use": "join"}}}, r"data\.extra\.location is empty"),
        ({"model": {"map_size": 128}}, r"model\.map_size 128 must divide prepare\.image_size 64"),
        ({"seed": True}, r"seed = True: should be a number"),
        ({"loss": {"c7": True}}, r"loss\.c7 = True: should be a number"),
        ({"loss": {"styles": True}}, r"loss\.styles = True: should be a number"),
        ({"stages": {"main": STAGE | {"modes": True}}}, r"stages\.main\.modes = True: should be a number"),
        ({"optimiser": {"ema": False}}, r"optimiser\.ema = False: should be a number"),
        ({"loss": 3}, r"loss = 3: is a group of parameters, not a value; set one of them, as loss\.NAME"),
        ({"warp": None}, r"warp = None: is a group of parameters"),
        ({"data": {"normaliser": 3}}, r"data\.normaliser = 3: should be a list, as in \[36, 45\]"),
        ({"machine": {"device": "gpu"}}, r"machine\.device = 'gpu': is not a device; use auto, cpu or cuda"),
        ({"data": {"synthetic": {"train": 1, "validation": 1, "test": 1, "size": 16}}}, r"synthetic\.size = 16: "),
        ({"machine": {"device": "mps"}}, r"machine\.device = 'mps': is not a device; use auto, cpu or cuda"),
        ({"tracking": {"model": "a/b"}}, r"tracking\.model = 'a/b': "),
        ({"warp": {}}, r"train\.gan_warp names the family 'paper', but `warp` has only"),
        ({"train": {}}, r"train\.mode is missing; params\.yaml as committed shows its default"),
        ({"stages": {"a": STAGE | {"image_size": 64}, "b": STAGE}}, r"a\.image_size 64 should be below .* 64; leave"),
        ({"stages": {"a": STAGE | {"image_size": 32}}}, r"stages\.a\.image_size 32 is that of the last stage, .* 64"),
        (
            {"stages": {"a": STAGE | {"image_size": 32}, "b": STAGE}, "tuning": {"online": True, "stage": "a"}},
            r"stages\.a\.image_size 32 does not go with tuning\.stage",
        ),
        (
            {"stages": {"a": STAGE | {"iterations": 0}, "b": STAGE}, "tuning": {"online": True, "stage": "a"}},
            r"tuning\.stage a has no iterations, so nothing would be searched; give it some, or name another",
        ),
        (
            {
                "stages": {"a": STAGE | {"image_size": 32}, "b": STAGE},
                "model": {"encoder": {"stacks": 1, "width": 48, "depth": 5}},
            },
            r"stages\.a\.image_size 32 leaves heatmaps too small for model\.encoder\.depth 5",
        ),
        (
            {"stages": {"a": STAGE | {"image_size": 32, "gan_every": 1}, "b": STAGE}},
            r"stages\.a\.image_size 32 does not go with gan_every",
        ),
        ({"stages": {"main": STAGE | {"warp": "wild"}}}, r"stages\.main\.warp names .*'wild'"),
        (
            {"stages": {"main": STAGE | {"iteratons": 1}}},
            r"stages\.main\.iteratons is not .*mean stages\.main\.iterations",
        ),
        (
            {"warp": {"paper": {"rotation": -1, "shift": 0, "scale": 0}}},
            r"warp\.paper\.rotation = -1\.0: should be from 0 to 180",
        ),
        (
            {"warp": {"paper": {"rotation": True, "shift": 0, "scale": 0}}},
            r"warp\.paper\.rotation = True: should be a num",
        ),
        ({"warp": {"paper": {"rotatoin": 1, "shift": 0, "scale": 0}}}, r"warp\.paper\.rotat"),
        (
            {"warp": {"paper": {"rotation": 1, "shift": 0, "scale": 0, "elastic": 1}}},
            r"warp\.paper\.correlation is missing",
        ),
    ],
)
def test_a_wrong_parameter_is_named_in_one_sentence(sections: dict[str, Any], sentence: str):
    with pytest.raises(BruleError, match=sentence) as error:
        config.parse(minimal(**sections), "p.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_a_file_that_is_no_mapping_is_refused(raw: object):
    with pytest.raises(BruleError, match=r"^p\.yaml: holds no parameters; params\.yaml as committed shows them$"):
        config.parse(raw, "p.yaml")


def test_a_missing_and_a_broken_file(tmp_path: Path):
    with pytest.raises(BruleError, match="does not exist; run this from the project's root"):
        config.read(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("loss: {c7: [1,\n")
    with pytest.raises(BruleError, match=r"bad\.yaml is not valid YAML") as error:
        config.read(tmp_path / "bad.yaml")
    assert "\n" not in str(error.value)


def test_sections_cannot_be_changed():
    parameters = config.parse(minimal())
    with pytest.raises(ValueError, match="frozen"):
        parameters.loss.c7 = 1.0  # type: ignore[misc]


def test_flatten_gives_dotted_names():
    flat = config.flatten(config.parse(minimal()))
    assert flat["loss.c7"] == 1e4
    assert flat["loss.lambda"] == 0.5
    assert flat["stages.main.iterations"] == 10
    assert flat["loss.cycle"] is None, "a switch that is left out is off"
    assert not any(isinstance(value, dict) for value in flat.values())


def test_the_fingerprint_follows_parameters_and_inputs(tmp_path: Path):
    first, second = tmp_path / "a.npy", tmp_path / "b.npy"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    raw = minimal()
    base = config.fingerprint(config.parse(raw), ["loss"], [first, second])
    assert base == config.fingerprint(config.parse(raw), ["loss"], [first, second])
    assert base == config.fingerprint(config.parse(raw | {"seed": 9}), ["loss"], [first, second])
    assert len(base) == 16
    assert base != config.fingerprint(config.parse(minimal(loss={"c7": 2e5})), ["loss"], [first, second])
    second.write_bytes(b"3")
    assert base != config.fingerprint(config.parse(raw), ["loss"], [first, second])


def test_the_order_of_the_stages_is_part_of_the_fingerprint():
    stages = {"a": STAGE, "b": STAGE}
    turned = dict(reversed(stages.items()))
    one, other = (config.parse(minimal() | {"stages": order}) for order in (stages, turned))
    assert config.fingerprint(one, ["stages"], []) != config.fingerprint(other, ["stages"], [])


def test_a_run_without_iterations_is_refused():
    with pytest.raises(BruleError, match="no iterations at all"):
        config.parse(minimal(stages={"main": STAGE | {"iterations": 0}}))
