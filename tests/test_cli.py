"""The command answers every photo its arguments name, in the format asked for, and overwrites nothing of the user's."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import brule
from brule.cli import command
from brule.data.landmarks import read_shapes
from brule.data.pts import read_pts
from brule.data.schemes import Scheme
from brule.detector.model import save
from brule.networks.hourglass import LandmarkEncoder

SOURCE = str(Path(__file__).parents[1] / "src")
NAMES = ["left eye", "right eye", "mouth, or what is left of it"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a detector, and with photos and a file of the user's own in photos/ and photos/more/."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"stacks": 1, "width": 8, "depth": 2}
    encoder = LandmarkEncoder(3, 64, 16, **sizes)
    encoder.heads[0].weight.data.mul_(40)
    facts = {"barycenter": np.zeros((3, 2)), "image_size": 64, "map_size": 16, "architecture": sizes}
    save("models/detector.safetensors", encoder, scheme=Scheme.plain(NAMES), **facts)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    Path("photos/more").mkdir(parents=True)
    for name, size in {
        "a.jpg": (90, 70),
        "b.png": (50, 80),
        "more/a.png": (64, 64),
        "more/.hidden.png": (9, 9),
    }.items():
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(Path("photos") / name)
    Path("photos/a.pts").write_text("my own annotation")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("predict", …)` → exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brule", *arguments])
        with pytest.raises(SystemExit) as exit_:
            command.main()
        shown = capsys.readouterr()
        return int(exit_.value.code or 0), shown.out, shown.err

    return call


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path("photos").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options", [[], ["--refine"], ["--no-refine"], ["--box", "10", "-5", "40.5", "30"], ["--box", "20", "20", "9", "9"]]
)
def test_the_table_holds_what_the_detector_answers(run: Run, options: list[str]) -> None:
    code, out, _ = run("predict", "photos/a.jpg", "photos/b.png", *options)
    assert code == 0
    table = rows(out)
    known = tuple(map(float, options[1:])) if len(options) > 1 else None
    refine = {"--refine": True, "--no-refine": False}.get("".join(options[:1]))
    model = brule.load("models/detector.safetensors")
    paths = ["photos/a.jpg", "photos/b.png"]
    # together, as the command asks: convolutions round a batch otherwise than one image, and a second look magnifies it
    answers = model.predict(paths, [known, known], refine=refine)
    for k, (path, answer) in enumerate(zip(paths, answers, strict=True)):
        lines = table[3 * k : 3 * k + 3]
        assert [(line["image"], line["name"]) for line in lines] == [(path, name) for name in NAMES]
        np.testing.assert_allclose([[float(line["x"]), float(line["y"])] for line in lines], answer.points, atol=1e-3)
        np.testing.assert_allclose([float(line["confidence"]) for line in lines], answer.confidence, atol=1e-3)


def test_json_says_the_same_as_csv(run: Run) -> None:
    table = rows(run("predict", "photos")[1])
    records = json.loads(run("predict", "photos", "--format", "json")[1])
    facts = ("image", "plausibility")
    flat = [{**{key: one[key] for key in facts}, **landmark} for one in records for landmark in one["landmarks"]]
    assert [{key: "" if value is None else str(value) for key, value in line.items()} for line in flat] == table


def test_photos_unlike_the_training_get_a_warning_each_and_many_a_summary(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brule.detector.model import Detector
    from brule.detector.prediction import Prediction

    assert "does not look like" not in run("predict", "photos")[2], "this detector does not know"
    Path("many").mkdir()
    for k in range(14):
        Image.new("RGB", (9, 9)).save(f"many/{k:02d}.png")
    sure = iter([0.9, 0.1, 0.5] + [0.2] * 11)
    nowhere = np.zeros((3, 2)), np.zeros(3, np.float32), tuple(NAMES)
    monkeypatch.setattr(Detector, "predictions", lambda self, *_: (Prediction(*nowhere, value) for value in sure))
    code, out, error = run("predict", "many", "--format", "json")
    lines = [line for line in error.splitlines() if "look like" in line]
    expected = "many/01.png: does not look like what the detector was trained on (plausibility 0.10); check it"
    assert code == 0 and lines[0] == expected and len(lines) == 11
    assert "many/03.png" in lines[1], "one half is enough"
    assert lines[-1].startswith("2 more photos do not look like it either, 12 of 14 in all")
    assert [one["plausibility"] for one in json.loads(out)][:3] == [0.9, 0.1, 0.5]


def test_files_folders_and_patterns_name_each_photo_once(run: Run) -> None:
    _, out, _ = run("predict", "photos", "photos/*.png", "photos/a.jpg")
    assert [line["image"] for line in rows(out)[::3]] == ["photos/a.jpg", "photos/b.png", "photos/more/a.png"]
    _, out, _ = run("predict", "photos/**/*.png")
    assert [line["image"] for line in rows(out)[::3]] == ["photos/b.png", "photos/more/a.png"]
    Path("photos/[1].png").write_bytes(Path("photos/b.png").read_bytes())
    assert {line["image"] for line in rows(run("predict", "photos/[1].png")[1])} == {"photos/[1].png"}


def test_what_is_passed_over_in_a_folder_is_told(run: Run) -> None:
    for name in ("c.heic", "d.GIF"):
        Path("photos", name).write_bytes(b"")
    code, _, err = run("predict", "photos")
    assert code == 0 and "photos: passed over 1 HEIC, 1 GIF, 1 hidden; convert what you need to JPEG or PNG.\n" in err
    assert "passed over" not in run("predict", "photos/a.jpg")[2]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_folder_for_output_gets_what_stdout_would(run: Run, form: str) -> None:
    expected = run("predict", "photos", "--format", form)[1]
    code, out, _ = run("predict", "photos", "--format", form, "--out", "found")
    assert (code, out) == (0, "")
    assert Path(f"found/landmarks.{form}").read_text() == expected


def test_pts_and_overlays_lie_as_the_photos_do(run: Run) -> None:
    before = contents()
    code, out, _ = run("predict", "photos", "--no-refine", "--format", "pts", "--overlay", "--out", "found")
    assert (code, out) == (0, "")
    written = {str(path.relative_to("found")) for path in Path("found").rglob("*") if path.is_file()}
    assert written == {f"{name}.{kind}" for name in ("a", "b", "more/a") for kind in ("pts", "png")}
    answer = brule.load("models/detector.safetensors").predict("photos/more/a.png", refine=False)
    np.testing.assert_allclose(read_pts("found/more/a.pts"), answer.points, atol=1e-3)
    assert contents() == before


FORMS = {"coco": "coco.json", "cvat": "cvat.xml", "label-studio": "label-studio.json", "tps": "tps"}
NEEDED = {"cvat": "cvat-label.json", "label-studio": "label-studio-interface.xml"}


@pytest.mark.parametrize("form", FORMS)
def test_proposals_name_photos_by_their_place_and_come_back_as_labels(run: Run, form: str) -> None:
    expected = run("predict", "photos", "--format", form)[1]
    assert run("predict", "photos", "--format", form, "--out", "found")[:2] == (0, "")
    written = {path.name: path.read_text() for path in Path("found").iterdir()}
    table = f"landmarks.{FORMS[form]}"
    assert set(written) == {table, *([NEEDED[form]] if form in NEEDED else [])}
    assert written[table] == expected
    if form == "label-studio":  # a person submits the predictions
        tasks = json.loads(expected)
        written[table] = json.dumps([task | {"annotations": task["predictions"]} for task in tasks])
        names = [label.get("value") for label in ElementTree.fromstring(written[NEEDED[form]]).iter("Label")]
        assert names == NAMES
    if form == "cvat":
        label = json.loads(written[NEEDED[form]])[0]
        assert (label["type"], [each["name"] for each in label["sublabels"]]) == ("skeleton", NAMES)
    Path(table).write_text(written[table])
    read = read_shapes(table, lambda name: Image.open(Path("photos") / name).size)
    answers = brule.load("models/detector.safetensors").predict(list(map(Path, ["photos/a.jpg", "photos/b.png"])))
    assert read.images == ("a.jpg", "b.png", "more/a.png")
    assert read.sizes == ((90, 70), (50, 80), (64, 64))
    for points, answer in zip(read.points, answers, strict=False):
        np.testing.assert_allclose(points, answer.points, atol=1e-3)
    assert form == "tps" or (read.scheme and list(read.scheme.names) == NAMES)


def test_proposals_need_a_name_for_each_photo(run: Run) -> None:
    Path("photos/more/b.png").write_bytes(Path("photos/b.png").read_bytes())
    code, _, error = run("predict", "photos/b.png", "photos/more/b.png", "--format", "coco")
    assert code == 1
    assert "photos/more/b.png: photos/b.png would have the same name, b.png; give the folder that holds both" in (
        " ".join(error.split())
    )


@pytest.mark.parametrize("out", ["photos", "photos/../photos", "link", "photos/more"])
def test_nothing_is_written_beside_a_photo(run: Run, out: str) -> None:
    Path("link").symlink_to("photos")
    before = contents()
    code, _, error = run("predict", "photos", "--format", "pts", "--overlay", "--out", out)
    assert code == 1 and "holds some of these photos; give --out a folder of its own" in error
    assert contents() == before


def test_two_photos_of_one_name_are_reported(run: Run) -> None:
    code, _, error = run("predict", "photos/a.jpg", "photos/more/a.png", "--format", "pts", "--out", "found")
    assert code == 1 and error.startswith("photos/more/a.png: photos/a.jpg has the same place")
    answer = brule.load("models/detector.safetensors").predict("photos/a.jpg")
    np.testing.assert_allclose(read_pts("found/a.pts"), answer.points, atol=1e-3)


def test_a_bad_photo_is_reported_and_the_others_are_answered(run: Run) -> None:
    Path("photos/bad.jpg").write_bytes(Path("photos/a.jpg").read_bytes()[:300])
    Path("empty").mkdir()
    code, out, error = run("predict", "photos", "missing.jpg", "empty", "nothing*.png")
    assert code == 1
    assert [line["image"] for line in rows(out)[::3]] == ["photos/a.jpg", "photos/b.png", "photos/more/a.png"]
    told = [line for line in error.splitlines() if "Finding landmarks" not in line and "trained" not in line]
    assert sorted(line.partition(":")[0] for line in told) == ["empty", "missing.jpg", "nothing*.png", "photos/bad.jpg"]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("photos/a.pts", "photos/a.pts: a file stands where a folder is needed"),
        ("taken", "taken/landmarks.csv: a folder stands where the table belongs"),
    ],
)
def test_a_place_that_takes_no_table_is_reported_before_the_work(run: Run, out: str, words: str, monkeypatch) -> None:
    Path("taken/landmarks.csv").mkdir(parents=True)
    monkeypatch.setattr("brule.detector.model.load", lambda _: pytest.fail("the detector was loaded"))
    code, _, error = run("predict", "photos/b.png", "--out", out)
    assert code == 1 and error.startswith(words) and error.count("\n") == 1


def test_it_says_what_the_detector_was_trained_on(run: Run) -> None:
    _, out, error = run("predict", "photos/a.jpg")
    assert error.startswith("models/detector.safetensors: What it was trained on is not on record") and "," in out
    header = {"mode": "unsupervised", "source": "folder", "images": 45, "labelled": 0, "shapes": 1}
    path = Path("models/detector.safetensors")
    detector = brule.load(path)
    facts = {
        name: getattr(detector, name) for name in ("barycenter", "scheme", "image_size", "map_size", "architecture")
    }
    save(path, detector.encoder, training=header, **facts)
    told = run("predict", "photos/a.jpg")[2].splitlines()[0]
    assert told.endswith(
        "Trained (unsupervised) on 45 images of `folder` without their landmarks and 1 unpaired shape."
    )


def test_an_empty_name_is_reported(run: Run) -> None:
    code, out, error = run("predict", "")
    assert (code, out) == (1, "") and error.startswith("'': names no photo")


def test_a_missing_model_and_a_missing_out_are_reported(run: Run) -> None:
    code, out, error = run("predict", "photos", "--model", "no.safetensors")
    assert (code, out) == (1, "") and error.startswith("no.safetensors: there is no such file")
    for option in (["--overlay"], ["--format", "pts"]):
        code, _, error = run("predict", "photos", *option)
        assert code == 2 and "give --out DIR" in error


def test_export_s_three_lines_of_python_answer_a_crop(run: Run) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed; pip install -e '.[dev]'")
    code, out, _ = run("export", "--onnx", "it's/here.onnx")
    told = re.search(r"^it's/here\.onnx: ([\d.]+) MB\n.* ([\de.-]+) px of the crop\n", out)
    assert code == 0 and told
    assert float(told[1]) == round(Path("it's/here.onnx").stat().st_size / 1e6, 1)
    assert float(told[2]) < 0.05
    crop = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(crop).save("crop.png")
    start = out.index("import numpy")
    lines = out[start : out.index("\n\n", start)]
    assert len(lines.splitlines()) == 3
    found: dict[str, np.ndarray] = {}
    exec(lines, found)
    model = brule.load("models/detector.safetensors")
    np.testing.assert_allclose(found["points"], model.points(crop[None]), atol=1e-4)
    np.testing.assert_allclose(found["confidence"][0], model.predict(crop, refine=False).confidence, atol=1e-3)


def test_export_tells_what_is_wrong_and_leaves_nothing_half_written(run: Run) -> None:
    Path("models/cut.safetensors").write_bytes(Path("models/detector.safetensors").read_bytes()[:-9])
    Path("old.onnx").write_text("mine")
    for model, sentence in {"cut": "not a whole safetensors file", "no": "there is no such file"}.items():
        code, out, error = run("export", "--model", f"models/{model}.safetensors", "--onnx", "old.onnx")
        assert (code, out) == (1, "") and error.startswith(f"models/{model}.safetensors: {sentence}")
        assert len(error.splitlines()) == 1
    code, _, error = run("export", "--onnx", "models/detector.safetensors")
    assert code == 2 and "must end in .onnx" in error
    assert brule.load("models/detector.safetensors")
    assert Path("old.onnx").read_text() == "mine" and {path.name for path in Path().glob("*.onnx")} == {"old.onnx"}


def outside(code: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", f"import sys\n{code}"], env=env, stdout=pipe, stderr=pipe, text=True)


def test_a_reader_that_has_had_enough_is_not_an_error() -> None:
    process = outside("sys.argv = ['brule', 'predict', 'photos']\nfrom brule.cli.command import main\nmain()")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    error = process.communicate()[1].lower()
    assert process.returncode == 1
    assert "error" not in error and "pipe" not in error


def test_what_is_not_needed_is_not_imported() -> None:
    """Neither by `import brule` and the command's --help, nor by predictions without overlays."""
    told = "print({'torch', 'matplotlib', 'mlflow', 'dvc', 'brule.detector.gan', 'brule.config'} & set(sys.modules))"
    use = "brule.load('models/detector.safetensors').predict('photos/a.jpg')"
    command = (
        "sys.argv = ['brule', 'predict', 'photos', '--out', 'found']\n"
        "try: brule.cli.command.main()\nexcept SystemExit: pass"
    )
    process = outside(f"import brule, brule.cli.command\n{told}\n{use}\n{command}\n{told}")
    assert process.communicate()[0] == "set()\n{'torch'}\n"
    assert Path("found/landmarks.csv").exists()


@pytest.mark.parametrize(
    "command, words",
    [
        ("predict", ["--box", "--refine", "--overlay", "pixels", "confidence", "exit code"]),
        ("export", ["--model", "--onnx", "points", "confidence", "framing", "pip install"]),
        ("serve", ["--model", "--port", "inputs", "predictions", "base64", "models:/", "400", "Ctrl-C"]),
        ("serve", ["--gan", "--samples", "brule demo", "127.0.0.1", "415"]),
        ("shapes", ["--out", "--count", "--port", "data.shapes", "draft", "127.0.0.1", "Ctrl-C"]),
        ("generate", ["--count", "--gan", "--shapes", "--seed", "--truncation", "--within", "data.location", ".pts"]),
    ],
)
def test_the_help_explains_the_command(run: Run, command: str, words: list[str]) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    for word in words:
        assert word in out
    assert re.search(rf"^ +{command} ", run("--help")[1], re.MULTILINE)


def test_demo_is_another_name_for_serve(run: Run) -> None:
    assert run("demo", "--help") == run("serve", "--help")
    assert re.search(r"^ +serve \(demo\)\s", run("--help")[1], re.MULTILINE)


def test_the_version_is_that_of_the_package(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brule.cli.command.metadata.version", lambda name: f"1.2.3 of {name}")
    assert run("--version") == (0, "brule 1.2.3 of brule\n", "")

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("brule.cli.command.metadata.version", missing)
    code, out, error = run("--version")
    assert (code, out) == (1, "") and error.startswith("the version is unknown, since brule is not installed")


def test_python_dash_m_brule_is_the_command() -> None:
    env = {**os.environ, "PYTHONPATH": SOURCE}
    shell = subprocess.run([sys.executable, "-m", "brule", "--help"], env=env, capture_output=True, text=True)
    assert shell.returncode == 0 and shell.stdout.startswith("usage: brule ")
