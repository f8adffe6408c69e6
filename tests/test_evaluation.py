"""The whole stage on a tiny project: every file, with labels and without, and the same MLflow run."""

import io
import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console

from brule import files, tracking
from brule.config import Config, read
from brule.data.schemes import Scheme
from brule.detector import gan
from brule.detector import model as detector
from brule.errors import BruleError
from brule.networks.generator import Generator
from brule.networks.hourglass import LandmarkEncoder
from brule.networks.style import NoiseToStyle, StyleEncoder
from brule.stages import evaluate as evaluation
from brule.stages.gan_scores import UNMEASURED_SAMPLES
from brule.stages.scores import speed
from brule.tracking import registry

ROOT = Path(__file__).parents[1]
SCHEME = Scheme(("left eye", "right eye", "nose", "mouth", "chin"), None, (0, 1), ((0, 1), (2, 3), (3, 4)))
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.5], [0.5, 0.7], [0.5, 0.9]], np.float32)


class Recorder(tracking.Run):
    """A run that records what is logged to it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: dict[str, Any] = {}
        self.seen: dict[str, float] = {}
        self.tagged: dict[str, str] = {}
        self.files: list[str] = []
        self.registered: list[tuple[Any, ...]] = []

    def metrics(self, values: Any, step: int) -> None:
        self.seen |= values

    def tags(self, values: Any) -> None:
        self.tagged |= values

    def artifact(self, path: Path | str, folder: str | None = None) -> None:
        assert Path(path).exists()
        self.files.append(str(path))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()

    @contextmanager
    def opened(config: Config, **options: Any) -> Any:
        recorder.opened = options
        yield recorder

    monkeypatch.setattr(tracking, "run", opened)
    monkeypatch.setattr(registry, "register", lambda run, *told: run.registered.append(told))
    monkeypatch.setattr(evaluation, "speed", partial(speed, seconds=0.0))
    return recorder


@pytest.fixture
def config() -> Config:
    whole = read(ROOT / "params.yaml")
    return whole.model_copy(update={"machine": whole.machine.model_copy(update={"device": "cpu"})})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `prepare`, `barycenter` and `train` leave behind, in miniature."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split, count in {"test": 10, "validation": 6, "train": 13}.items():
        folder = tmp_path / "data/crops" / split
        folder.mkdir(parents=True)
        np.save(folder / "images.npy", rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8))
        np.save(folder / "landmarks.npy", (SHAPE + rng.normal(0, 0.03, (count, 5, 2))).astype(np.float32))
        index = pd.DataFrame({"name": [f"{k}.png" for k in range(count)], "source": "x", "group": "g", "labelled": 1})
        index.assign(framed=1).to_csv(folder / "index.csv", index=False)
    np.save(tmp_path / "data/crops/shapes.npy", (SHAPE + rng.normal(0, 0.03, (12, 5, 2))).astype(np.float32))
    manifest = {
        "scheme": SCHEME.to_json(),
        "image_size": 64,
        "source": "folder",
        "licence": None,
        "counts": {"test": 10},
    }
    (tmp_path / "data/crops/manifest.json").write_text(json.dumps(manifest))
    np.save(tmp_path / "data/barycenter.npy", SHAPE)
    torch.manual_seed(0)
    sizes = {"stacks": 1, "width": 16, "depth": 1}
    detector.save(
        tmp_path / "models/detector.safetensors",
        LandmarkEncoder(5, 64, 16, **sizes),
        barycenter=SHAPE,
        scheme=SCHEME,
        image_size=64,
        map_size=16,
        architecture=sizes,
        training={"mode": "unsupervised"},
    )
    write_gan(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/train.json").write_text(json.dumps({"best_iteration": 40}))
    (tmp_path / "results/run.json").write_text(json.dumps({"mlflow_run_id": "abc", "seconds": 754.0}))
    history = pd.DataFrame(
        {"iteration": [10, 20], "stage": "only", "encoder/R_g": [2.0, 1.0], "validation/nme": [9.0, 8.0]}
    )
    history.to_csv(tmp_path / "results/history.csv", index=False)
    return tmp_path


def write_gan(project: Path, landmarks: int = 5, iterations: int = 40) -> None:
    model = {
        "map_size": 16,
        "condition_sigma": 1.5,
        "generator": {"width": 4, "max_width": 8},
        "style": {"size": 8, "width": 4, "latent": 8, "depth": 2},
    }
    networks = {"generator": Generator(landmarks, 64, 16, 8, 4, 8), "noise_to_style": NoiseToStyle(8, 8, 2)}
    networks["style"] = StyleEncoder(64, 8, 4)
    facts: dict[str, Any] = {"landmarks": landmarks, "image_size": 64, "model": model, "iterations": iterations}
    gan.save(project / "models/gan.safetensors", networks, **facts)


def test_every_file_is_written_and_logged(project: Path, config: Config, run: Recorder) -> None:
    report = evaluation.evaluate(config)
    saved = json.loads((project / "results/metrics.json").read_text())
    assert saved == {name: value for name, value in report.items() if name != "images_per_second"}
    wanted = {
        "nme",
        "w1",
        "floor_nme",
        "oracle_similarity_nme",
        "oracle_affine_nme",
        "auc_08",
        "failure_08",
        "failure_10",
    }
    for split, count in {"test": 10, "validation": 6}.items():
        assert wanted <= saved[split].keys() and saved[split]["images"] == count
        assert saved[split]["oracle_similarity_nme"] < saved[split]["floor_nme"] < saved[split]["nme"]
    assert {"spread", "equivariance", "entropy", "agreement"} <= saved["monitors"].keys()
    assert report["images_per_second"] == run.seen["evaluation/images_per_second"] > 0
    assert f"{report['images_per_second']:.0f} images per second" in (project / "models/README.md").read_text()
    assert any(alarm.startswith("nearest is") for alarm in saved["alarms"]), "an untrained detector has collapsed"
    for name in ("ced", "overlays", "history", "samples"):
        with Image.open(project / f"results/figures/{name}.png") as picture:
            assert min(picture.size) > 100
    table = pd.read_csv(project / "results/ced.csv")
    assert list(table) == ["threshold", "detector", "floor", "oracle_affine", "oracle_similarity"]
    assert table["floor"].is_monotonic_increasing and table["floor"].iloc[-1] == 1
    assert "does not beat the floor" in (project / "models/README.md").read_text()
    assert saved["samples"]["shapes"] == 6 and saved["samples"]["diversity"] > 0
    assert saved["samples"]["frechet_images"] == 6 and run.seen["samples/frechet"] == saved["samples"]["frechet"]
    assert saved["samples"]["frechet"] > 3 * saved["samples"]["frechet_floor"] > 0, "an untrained GAN's, and noise"
    assert run.seen["samples/nme"] == saved["samples"]["nme"] and "evaluation/samples/nme" not in run.seen
    assert (run.opened["stage"], run.opened["name"]) == ("evaluate", "default · synthetic · 64 px")
    assert json.loads(run.tagged["alarms"]) == report["alarms"], "the results table reads them there"
    assert (
        run.seen["test/nme"] == report["test"]["nme"]
        and "test/parts/eyes" in run.seen
        and "evaluation/monitors/spread" in run.seen
    )
    assert set(run.files) >= {"results/figures", "results/metrics.json", "models/README.md", "results/report.html"}
    [(name, weights, measured)] = run.registered
    assert name == "brule" and weights.samefile(project / "models/detector.safetensors")
    assert (measured.nme, measured.floor) == (saved["validation"]["nme"], saved["validation"]["floor_nme"])
    assert measured.alarms == saved["alarms"]
    page = (project / "results/report.html").read_text()
    assert "12.6 min" in page and "seconds of training 754" in (project / "models/README.md").read_text()
    assert f"{saved['test']['nme']:.2f}" in page and page.count("data:image/") == 4


def test_the_measures_are_repeatable(project: Path, config: Config, run: Recorder) -> None:
    tracked = project / "results/metrics.json"
    one, two = ((evaluation.evaluate(config), tracked.read_bytes())[1] for _ in range(2))
    assert one == two, "git sees no change where nothing has moved"
    path = project / "data/crops/validation/landmarks.npy"
    np.save(path, np.load(path) + np.float32(0.001))
    evaluation.evaluate(config)
    first, again, moved = (told[2] for told in run.registered)
    assert first == again and first.crops != moved.crops, "the digest is that of these validation crops alone"


def test_what_was_pulled_is_registered_as_it_was_measured(project: Path, config: Config, run: Recorder) -> None:
    evaluation.evaluate(config)
    del run.seen["evaluation/images_per_second"]  # which is not measured again
    evaluated, results = dict(run.seen), (project / "results/metrics.json").read_bytes()
    run.seen.clear(), run.files.clear()
    (project / "results/ced.csv").unlink()  # not pulled
    evaluation.register(config)
    assert run.opened["stage"] == "register" and (project / "results/metrics.json").read_bytes() == results
    first, again = run.registered
    assert first == again
    assert evaluated.items() <= run.seen.items() and run.seen["course/error NME"] == 8.0, "its course is there, too"
    assert {"results/report.html", "results/figures"} <= set(run.files)
    assert "does not beat the floor" in run.tagged["mlflow.note.content"]


def test_the_run_is_asked_for_by_its_id_and_by_its_weights(project: Path, config: Config, run: Recorder) -> None:
    weights = files.sha((project / "models/detector.safetensors").read_bytes())
    for stage in (evaluation.evaluate, evaluation.register):
        stage(config)
        assert run.opened["resume_id"] == "abc" and run.opened["tags"] == {"weights": weights}
        assert run.seen["course/error NME"] == 8.0, "a new run has its course"


def test_only_what_belongs_together_is_registered(project: Path, config: Config, run: Recorder) -> None:
    with pytest.raises(BruleError, match=r"^results/metrics\.json: is missing; run dvc pull"):
        evaluation.register(config)
    evaluation.evaluate(config)
    run.registered.clear()
    path = project / "results/metrics.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"validation": told["validation"] | {"nme": 3.0}}))
    with pytest.raises(BruleError, match=r"^results/metrics\.json is not that of models/detector\.safetensors, whose"):
        evaluation.register(config)
    path.write_text(json.dumps(told | {"test": None}))
    with pytest.raises(BruleError, match=r"^results/metrics\.json: test is missing or wrong; run dvc pull"):
        evaluation.register(config)
    nameless = config.model_copy(update={"tracking": config.tracking.model_copy(update={"model": None})})
    with pytest.raises(BruleError, match=r"^tracking\.model is null in params\.yaml"):
        evaluation.register(nameless)
    (project / "models/detector.safetensors").unlink()
    with pytest.raises(BruleError, match=r"^models/detector\.safetensors"):
        evaluation.register(config)
    assert not run.registered


def test_a_run_without_algorithm_1_has_no_samples(project: Path, config: Config, run: Recorder) -> None:
    write_gan(project, iterations=0)
    (project / "results/figures").mkdir()
    (project / "results/figures/samples.png").write_bytes(b"what an earlier run drew")
    report = evaluation.evaluate(config)
    assert report["samples"] == UNMEASURED_SAMPLES and not (project / "results/figures/samples.png").exists()
    assert "samples/nme" not in run.seen and "GAN" not in shown(report)


def test_a_gan_of_other_landmarks_is_refused(project: Path, config: Config, run: Recorder) -> None:
    write_gan(project, landmarks=4)
    with pytest.raises(BruleError, match=r"gan\.safetensors: it draws 4 landmarks at 64 px.*finds 5.*dvc repro"):
        evaluation.evaluate(config)


def test_a_folder_without_landmarks(project: Path, config: Config, run: Recorder) -> None:
    for split in ("test", "validation"):
        path = project / f"data/crops/{split}/landmarks.npy"
        np.save(path, np.full_like(np.load(path), np.nan))
    report = evaluation.evaluate(config)
    saved = json.loads((project / "results/metrics.json").read_text())
    assert saved["test"]["nme"] is None and saved["validation"]["images"] == 0 and saved["monitors"]
    assert run.registered[0][2].nme is run.registered[0][2].floor is None
    assert saved["samples"]["shapes"] == 12, "the unpaired shapes stand in"
    assert pd.read_csv(project / "results/ced.csv")["detector"].isna().all()
    assert all((project / f"results/figures/{name}.png").is_file() for name in ("ced", "overlays", "history"))
    for place in ("models/README.md", "results/report.html"):
        assert "no landmarks to measure against" in (project / place).read_text()
    assert "test/nme" not in run.seen and "evaluation/monitors/spread" in run.seen
    assert "no landmarks to measure against" in shown(report)


def test_a_project_without_held_out_images(project: Path, config: Config, run: Recorder) -> None:
    for split in ("test", "validation"):
        folder = project / "data/crops" / split
        for name in ("images", "landmarks"):
            np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[:0])
        pd.read_csv(folder / "index.csv").head(0).to_csv(folder / "index.csv", index=False)
    report = evaluation.evaluate(config)
    assert report["samples"]["nme"] is not None and report["samples"]["diversity"] is None
    assert report["monitors"] == {} and report["images_per_second"] is None and report["test"]["nme"] is None
    assert shown(report)


def shown(report: dict[str, Any]) -> str:
    stream = io.StringIO()
    evaluation.show(report, Console(file=stream, width=120))
    return " ".join(stream.getvalue().split())


def test_the_table_shows_scores_and_floor_and_where_the_page_is(project: Path, config: Config, run: Recorder) -> None:
    report = evaluation.evaluate(config)
    text = shown(report)
    for number in (report["test"]["nme"], report["validation"]["w1"], report["test"]["floor_nme"]):
        assert f"{number:.2f}" in text
    assert f"{report['samples']['nme_floor']:.2f}" in text and f"{report['samples']['diversity']:.2f}" in text
    assert f"{report['samples']['frechet']:.2f}" in text and f"{report['samples']['frechet_floor']:.2f}" in text
    assert "results/report.html" in text and "has learned nothing" in text


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("models/detector.safetensors", None, r"detector\.safetensors: there is no such file"),
        ("models/detector.safetensors", b"junk", "not a whole safetensors file"),
        ("models/gan.safetensors", None, r"gan\.safetensors: there is no such file"),
        ("models/gan.safetensors", b"junk", "not a whole safetensors file"),
        ("results/train.json", None, r"results/train\.json: is missing"),
        ("results/train.json", b"{", r"results/train\.json: is damaged"),
        (
            "results/train.json",
            b'{"collapsed": 5}',
            r"results/train\.json: collapsed is missing or wrong; run the train",
        ),
        ("results/train.json", b'{"best_iteration": "x"}', r"results/train\.json: best_iteration is missing or wrong"),
        ("results/history.csv", b"iteration,stage,loss\n1,a,b\n", r"results/history\.csv: is damaged"),
        ("results/run.json", None, r"results/run\.json: is missing; run the train stage again"),
        ("data/barycenter.npy", None, r"data/barycenter\.npy: is missing"),
        ("data/barycenter.npy", b"junk", r"data/barycenter\.npy: is damaged"),
        ("data/crops/test/images.npy", b"junk", r"images\.npy: is damaged"),
        ("results/history.csv", None, r"results/history\.csv: is missing"),
        ("results/history.csv", b"", r"results/history\.csv: is damaged"),
        ("results/history.csv", b"a,b\n1,2\n", r"results/history\.csv: is damaged"),
    ],
)
def test_a_broken_input_is_one_sentence(
    project: Path, config: Config, run: Recorder, path: str, content: bytes | None, sentence: str
) -> None:
    (project / path).unlink() if content is None else (project / path).write_bytes(content)
    with pytest.raises(BruleError, match=sentence) as caught:
        evaluation.evaluate(config)
    assert "\n" not in str(caught.value)


def test_a_barycenter_of_other_landmarks_is_refused(project: Path, config: Config, run: Recorder) -> None:
    np.save(project / "data/barycenter.npy", SHAPE[:3])
    with pytest.raises(BruleError, match=r"shape \(3, 2\).*answers 5 landmarks"):
        evaluation.evaluate(config)


def test_a_collapsed_run_is_reported_even_if_its_checkpoint_is_healthy(
    project: Path, config: Config, run: Recorder
) -> None:
    sentence = "the run collapsed: spread fired at iteration 60 and stands at the end"
    trained = {"best_iteration": 40, "collapsed": {"iteration": 60, "sentence": sentence}}
    (project / "results/train.json").write_text(json.dumps(trained))
    report = evaluation.evaluate(config)
    assert report["alarms"][0] == sentence
    assert sentence in (project / "models/README.md").read_text()
    assert sentence[1:] in (project / "results/report.html").read_text()
    console = Console(record=True, width=100)
    evaluation.show(report, console)
    assert sentence in " ".join(console.export_text().split())
