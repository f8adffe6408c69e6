"""Versions and their champion in MLflow's registry, and MLflow's own server asked for the champion."""

import base64
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import brule
from brule import tracking
from brule.config import Config, read
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.tracking import registry
from brule.tracking.registry import Measured, objection

sys.path.insert(0, str(Path(__file__).parent))
from mangled import FILES, scene
from servers import start_mlflow, write_detector

mlflow = pytest.importorskip("mlflow")

PARAMS = Path(__file__).parents[1] / "params.yaml"
GOOD = Measured("these faces", 5.0, 18.0)


@pytest.fixture(scope="module")
def config() -> Config:
    return read(PARAMS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Detectors, each with weights of its own."""
    folder = tmp_path_factory.mktemp("weights")
    paths = [folder / str(seed) / "detector.safetensors" for seed in range(4)]
    for seed, path in enumerate(paths):
        write_detector(path, seed)
    return paths


def client(root: Path) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def champion(root: Path) -> str | None:
    version = client(root).get_registered_model("brule").aliases.get("champion")
    return version and str(version)


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        (GOOD, None, None),
        (GOOD, replace(GOOD, nme=5.1), None),
        (GOOD, GOOD, "does not beat the champion's 5.000 %"),
        (GOOD, replace(GOOD, nme=4.9), "5.000 % does not beat the champion's 4.900 %"),
        (replace(GOOD, nme=18.0), None, "does not beat the floor of 18.00 %"),
        (replace(GOOD, nme=20.0), replace(GOOD, nme=30.0), "does not beat the floor"),
        (replace(GOOD, nme=None, floor=None), None, "no landmarks"),
        (replace(GOOD, alarms=("spread is 0.1",)), None, "collapse alarms are on"),
        (replace(GOOD, crops="others"), replace(GOOD, nme=9.0), "other validation images"),
        (GOOD, Measured.read({}), "other validation images"),
        (GOOD, Measured.read({"validation.nme": "much"}), "other validation images"),
    ],
)
def test_the_champion_is_beaten_on_its_own_faces_or_stays(own: Measured, other: Measured | None, why: str) -> None:
    found = objection(own, other)
    assert found is None if why is None else found is not None and why in found


@pytest.mark.parametrize("measured", [GOOD, Measured("", None, None), replace(GOOD, nme=1 / 3, alarms=("a", "b"))])
def test_what_was_measured_comes_back_from_tags(measured: Measured) -> None:
    again = Measured.read(measured.tags())
    assert replace(again, alarms=()) == replace(measured, alarms=())
    assert bool(again.alarms) == bool(measured.alarms)


def test_versions_pile_up_only_with_new_weights_and_the_best_one_is_champion(
    root: Path, config: Config, weights: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def register(number: int, measured: Measured) -> tuple[str, str | None]:
        with tracking.run(config, "evaluate") as run:
            registry.register(run, "brule", weights[number], measured)
        return capsys.readouterr().err, champion(root)

    told, now = register(0, replace(GOOD, alarms=("spread is 0.1",)))
    assert now is None and "registered as version 1 of the model brule: there is no champion, since its coll" in told
    assert "mlflow.MlflowClient().set_registered_model_alias('brule', 'champion', '1')" in told
    told, now = register(1, GOOD)
    assert now == "2" and told == "brule: registered as version 2 of the model brule: it is the champion now\n"
    told, now = register(2, replace(GOOD, nme=3.0, crops="others"))
    assert now == "2" and "champion stays version 2, since it was measured on other validation images" in told
    told, now = register(1, replace(GOOD, nme=4.5))
    assert now == "2" and "these weights are already version 2 of the model brule: it is the champion already" in told
    told, now = register(0, replace(GOOD, nme=4.6))
    assert now == "2" and "4.600 % does not beat the champion's 4.500 %" in told, "measured anew, as is the champion"
    told, now = register(0, replace(GOOD, nme=4.4))
    assert now == "1" and "already version 1 of the model brule: it is the champion now, after version 2" in told
    store = client(root)
    versions = store.search_model_versions("name = 'brule'")
    assert sorted(int(version.version) for version in versions) == [1, 2, 3]
    assert len({version.tags["sha256"] for version in versions}) == 3
    assert all(store.get_run(version.run_id).info.status == "FINISHED" for version in versions)


def test_what_learned_nothing_is_not_registered(
    root: Path, config: Config, weights: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.run(config, "evaluate") as run:
        assert not registry.register(run, "brule", weights[0], replace(GOOD, nme=18.5))
    told = capsys.readouterr().err
    assert "is not registered: its validation NME of 18.50 % does not beat the floor of 18.00 %" in told
    assert client(root).search_registered_models() == [] and client(root).search_logged_models(["1"]) == []


def test_names_and_descriptions_tell_which_run_it_is_and_a_moved_project_finds_its_champion(
    root: Path, config: Config, weights: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "my/v1.5")
    name = tracking.title("synthetic", 64)
    assert name == "my/v1.5 · synthetic · 64 px"
    with tracking.run(config, "evaluate", name=name) as run:
        assert registry.register(run, "brule", weights[0], GOOD)
    store = client(root)
    version = store.get_model_version_by_alias("brule", "champion")
    assert version.description == f"{name}: validation NME 5.00 %, floor 18.00 %"
    assert 'brule.load("models:/brule@champion")' in store.get_registered_model("brule").description
    assert [model.name for model in store.search_logged_models(["1"])] == ["my v1 5 · synthetic · 64 px"]
    root.rename(moved := tmp_path / "moved")
    monkeypatch.setenv("DVC_ROOT", str(moved))
    assert registry.fetch("models:/brule@champion", tmp_path / "fetched").read_bytes() == weights[0].read_bytes()
    moved.rename(root)


def test_mlflow_s_own_server_answers_as_the_detector_does(
    root: Path, config: Config, weights: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with tracking.run(config, "evaluate") as run:
        registry.register(run, "brule", weights[3], GOOD)
    folder, detector = tmp_path_factory.mktemp("fetched"), Detector.load(weights[3])
    fetched = registry.fetch("models:/brule@champion", folder)
    assert fetched.read_bytes() == weights[3].read_bytes()
    np.testing.assert_array_equal(
        brule.load("models:/brule@champion").predict(scene()).points, detector.predict(scene()).points
    )
    model = Path(client(root).get_model_version_by_alias("brule", "champion").source.removeprefix("file://"))
    facts = (model / "MLmodel").read_text()
    assert '"image": {"type": "string"' in " ".join(facts.split()) and "is_signature_from_type_hint: true" in facts
    needs = (model / "requirements.txt").read_text()
    assert {line.partition("==")[0] for line in needs.split()} == set(registry.REQUIREMENTS) and "+" not in needs
    server = start_mlflow("models:/brule@champion", cwd=root)
    try:
        photo, pixels = folder / "photo.jpg", np.asarray(scene(7))
        photo.write_bytes(FILES["whole.large.jpg"])
        asked = {"image": base64.b64encode(photo.read_bytes()).decode(), "box": [300, 200, 700, 500.5], "refine": True}
        status, reply = server.ask(body={"inputs": [asked, {"pixels": pixels.tolist()}]})
        assert status == 200
        wanted = [detector.predict(photo, asked["box"], True), detector.predict(pixels)]
        for answer, found in zip(reply["predictions"], wanted, strict=True):
            assert answer["names"] == list(found.names)
            assert np.array_equal(answer["points"], found.points)
            assert np.array_equal(np.array(answer["confidence"], np.float32), found.confidence)
        status, reply = server.ask(body=json.loads((model / "serving_input_example.json").read_text()))
        assert status == 200 and len(reply["predictions"]) == 1
        for body, sentence in {
            "aGVsbG8=": "inputs[0]: is not a readable image; replace or remove the file",
            "!": "inputs[0].image: is not base64; encode an image file, as `base64 photo.jpg` does",
        }.items():
            status, reply = server.ask(body={"inputs": [{"image": body}]})
            assert status == 400 and reply["message"] == sentence and "stack_trace" not in reply
        for wrong in ({"inputs": [{"image": 7}]}, {"inputs": [{}]}, {"instances": []}, b"{", b"\xff", b"[]"):
            status, reply = server.ask(body=wrong)
            assert status == 400 and reply["message"] and "stack_trace" not in reply
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.communicate()


@pytest.mark.parametrize(
    "uri", ["models:/brule@champion", "models:/brule/1", "models:/", "models:/brule", "models:/brule/x"]
)
def test_a_model_that_is_not_there_is_one_sentence(root: Path, tmp_path: Path, uri: str) -> None:
    with pytest.raises(BruleError, match=f"^{uri}: .*`brule register` registers the detector in models/") as caught:
        registry.fetch(uri, tmp_path / "fetched")
    assert "\n" not in str(caught.value)


def test_a_foreign_model_is_one_sentence(root: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "MLmodel").write_text("flavors: {}")
    client(root).create_registered_model("other")
    client(root).create_model_version("other", str(tmp_path / "foreign"))
    with pytest.raises(BruleError, match=r"^models:/other/1: is not a detector of brule; give models:/NAME@champion, "):
        registry.fetch("models:/other/1", tmp_path / "fetched")


def test_nothing_is_registered_where_nothing_is_wanted(root: Path, config: Config, weights: list[Path]) -> None:
    with tracking.run(config, "evaluate") as run:
        registry.register(run, None, weights[0], GOOD)
    assert client(root).search_registered_models() == []


def test_a_store_that_fails_is_told_and_that_nothing_was_registered(
    weights: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    class Away:
        tracking_uri = "http://127.0.0.1:9"

        def search_model_versions(self, *_: Any, **__: Any) -> None:
            raise ConnectionError("gone\nfor lunch")

    run = tracking.Run(Away(), "id")  # type: ignore[arg-type]
    registry.register(run, "brule", weights[0], GOOD)
    assert "MLflow does not answer (gone); " in (told := capsys.readouterr().err) and told.count("\n") == 2
    registry.register(run, "brule", weights[0], GOOD)
    told = capsys.readouterr().err
    assert (
        "no version of the model brule has these weights yet; `brule register` tries again" in told
        and told.count("\n") == 1
    )


def test_without_mlflow_it_is_harmless_and_fetching_is_one_sentence(
    config: Config, weights: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with tracking.run(config, "evaluate") as run:
        registry.register(run, "brule", weights[0], GOOD)
    with pytest.raises(BruleError, match=r"models:/brule/1: MLflow is not installed; install it, or give a detector"):
        registry.fetch("models:/brule/1", tmp_path)
