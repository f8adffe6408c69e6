"""`brule new`: it measures where it can, says when it guesses, cuts as `prepare` does, and writes all or nothing."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brule import config
from brule.cli import command, new
from brule.data.labels import Labels
from brule.data.pts import format_pts
from brule.data.schemes import IBUG68, Scheme
from brule.figures import contact
from brule.method.schedule import Schedule
from brule.stages import experiments, forecast, proposal
from brule.stages.survey import FILLS, estimated_fill, proposed, survey

ROOT = Path(__file__).parents[1]
NAMES = ["left ear", "right ear", "nose"]
SHAPE = np.array([[70.0, 30.0], [30.0, 30.0], [50.0, 60.0]])
Run = Callable[..., tuple[int, str, str]]
TIMED = forecast.seconds


def picture(path: Path, size: tuple[int, int] = (100, 80), seed: int = 0) -> Path:
    """Noise, and a bright disc in the middle."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 60, (height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    pixels[(x - width / 2) ** 2 + (y - height / 2) ** 2 < 25**2] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_shapes(path: Path, **more: Any) -> Path:
    rng = np.random.default_rng(0)
    shapes = [(SHAPE + rng.normal(0, 1, SHAPE.shape)).tolist() for _ in range(10)]
    path.write_text(json.dumps({"names": NAMES, "shapes": shapes, **more}))
    return path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, with 8 photos in `My Pets`, 10 shapes, and a machine whose speed is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for number in range(8):
        picture(tmp_path / "My Pets" / f"{number}.png", seed=number)
    write_shapes(tmp_path / "shapes.json")
    monkeypatch.setattr(forecast, "seconds", lambda *_: 754.0)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("My Pets", …)` → exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brule", "new", *arguments])
        with pytest.raises(SystemExit) as exit_:
            command.main()
        shown = capsys.readouterr()
        return int(exit_.value.code or 0), shown.out, shown.err

    return call


def test_the_experiment_is_one_that_the_pipeline_takes(run: Run, place: Path) -> None:
    code, out, _ = run("My Pets", "--shapes", "shapes.json")
    assert code == 0 and out.rstrip().endswith("python pipelines/experiment.py my-pets")
    wanted = experiments.plan(place, "my-pets")
    usual = experiments.workspace(place)
    assert wanted["data"] | {"source": "folder"} == usual["data"] | {
        "source": "folder",
        "location": str(place / "My Pets"),
        "shapes": str(place / "shapes.json"),
    }
    assert {key for key in usual if usual[key] != wanted[key]} == {"data", "prepare", "stages"}
    assert "8 photos, 10 shapes" in experiments.catalogue(place / "experiments")["my-pets"]
    assert Image.open("results/my-pets-sheet.png").width > 600
    assert "13 minutes" in out and "an estimate" in out and "6 to train on, 1 for validation, 1 for the test" in out
    assert "Mirrored pairs: 1: left ear ⇄ right ear." in out and "Not paired: 1: nose." in out


def test_the_sheet_shows_what_prepare_cuts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the size of the crops, pixel by pixel; labelled photos around their landmarks."""
    from brule.data import sources
    from brule.data.prepare import prepare

    for number in range(8, 16):
        picture(Path(f"My Pets/{number}.png"), seed=number)
    for number in range(0, 16, 2):
        Path(f"My Pets/{number}.pts").write_text(format_pts(SHAPE + number / 4))
    seen: list[np.ndarray] = []
    monkeypatch.setattr(proposal, "SHARP", 0)
    monkeypatch.setattr(proposal, "SHOWN", 16)
    monkeypatch.setattr(contact, "sheet", lambda crops, X_b, scheme, path, *_: (seen.append(crops), path.touch()))
    assert run("My Pets", "--shapes", "shapes.json")[0] == 0
    settings = config.parse(experiments.plan(Path(), "my-pets"))
    sources.fetch(settings.data, settings.seed, Path("raw"))
    prepare(Path("raw"), Path("crops"), settings.prepare, settings.seed)
    cut = {image.tobytes() for image in np.load("crops/train/images.npy")}
    assert {image.tobytes() for image in seen[0]} == cut


def test_what_is_passed_over_is_told_with_its_reason(run: Run) -> None:
    for name in ("a.gif", "b.HEIC", "c.heic", ".d.png", "notes.txt"):
        Path("My Pets", name).write_bytes(b"")
    picture(Path("My Pets/small.png"), (40, 30))
    _, out, _ = run("My Pets", "--shapes", "shapes.json")
    assert "Passed over: 1 hidden, 1 GIF, 2 HEIC; convert what you need to JPEG or PNG." in out
    assert "1 are smaller than 64 pixels and are enlarged" in out


def test_crop_fill_is_measured_where_anything_tells_it(place: Path) -> None:
    photos = survey(place / "My Pets")
    bare = Labels(SHAPE[None])
    assert proposed(photos, bare).measured == 0
    for told in (
        Labels(SHAPE[None], images=("3.png",)),
        Labels(SHAPE[None], images=("elsewhere.jpg",), sizes=((100, 80),)),
    ):
        assert proposed(photos, told)[:3] == (0.5, 0.14, 1)  # 40 of 80; the box's middle is 5.5 px below the photo's
    assert proposed(photos, Labels(SHAPE[None], images=("elsewhere.jpg",))).measured == 0
    (place / "My Pets" / "5.pts").write_text(format_pts(SHAPE * [0.5, 1] + [60, 0]))
    found = proposed(survey(place / "My Pets"), bare)
    assert (found.fill, found.measured, found.outside) == (0.25, 1, 1)


def textured(width: float) -> np.ndarray:
    """60 looks at a noisy square of this width, before random ramps."""
    rng = np.random.default_rng(0)
    looks = np.empty((60, 64, 64, 3), np.uint8)
    side = round(64 * width)
    for look in looks:
        look[:] = (128 + rng.uniform(-60, 60) * np.linspace(-1, 1, 64))[:, None]
        x, y = ((64 - side) / 2 + rng.normal(0, 2, 2)).clip(0, 64 - side).astype(int)
        block = rng.integers(0, 255, (side // 4 + 1, side // 4 + 1)).repeat(4, 0).repeat(4, 1)[:side, :side]
        look[y : y + side, x : x + side] = block[..., None]
    return looks


def test_the_estimate_grows_with_the_object_and_is_about_as_large() -> None:
    widths = [0.3, 0.4, 0.6, 0.8]
    found = [estimated_fill(textured(width), 1.0, 1.0) for width in widths]
    assert found == sorted(found)
    np.testing.assert_allclose(found, widths, rtol=0.33)
    assert estimated_fill(textured(0.6), 4.0, 1.0) < 0.25, "four times as tall as wide: a quarter at most fits"
    assert FILLS[0] <= estimated_fill(np.zeros((5, 64, 64, 3), np.uint8), 1.0, 1.0) <= FILLS[1], "blank photos"


def test_the_time_is_that_of_real_iterations_on_these_photos(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "PATIENCE", 0.0)
    monkeypatch.setattr(forecast, "seconds", TIMED)
    code, out, err = run("My Pets", "--shapes", "shapes.json")
    assert code == 0 and "Training takes about" in out, err


def test_every_iteration_is_of_a_kind_that_was_timed() -> None:
    settings = config.read(ROOT / "params.yaml")
    schedule = Schedule(settings.stages, settings.train.ramp)
    kinds = {forecast.kind(schedule.at(k), settings.train) for k in range(schedule.iterations)}
    assert {kind.stage for kind in kinds} == set(settings.stages)
    joint = [kind for kind in kinds if kind.gan]
    assert any(kind.penalised for kind in joint) and not all(kind.plays for kind in joint)
    assert not [kind for kind in kinds if kind.penalised and not kind.plays]
    assert len(kinds) <= 10, "each costs some iterations"


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 seconds"), (754, "13 minutes"), (12600, "3.5 hours")])
def test_a_duration_is_told_in_its_own_unit(seconds: float, words: str) -> None:
    assert new.duration(seconds) == words


def test_a_legend_names_every_landmark_once_and_pairs_share_a_line() -> None:
    lines = contact.legend(Scheme.plain(NAMES))
    assert lines == [((0, 1), "0 left ear  ⇄  1 right ear"), ((2,), "2 nose")]
    everyone = [k for members, _ in contact.legend(IBUG68) for k in members]
    assert sorted(everyone) == list(range(68))


def spoil(what: str) -> list[str]:
    """Make one thing wrong; the command's arguments."""
    arguments = ["My Pets", "--shapes", "shapes.json"]
    match what:
        case "no photos":
            shutil.rmtree("My Pets")
            Path("My Pets").mkdir()
            Path("My Pets/a.gif").touch()
        case "one photo":
            for number in range(1, 8):
                Path(f"My Pets/{number}.png").unlink()
        case "no place":
            return ["nowhere", "--shapes", "shapes.json"]
        case "no shapes":
            return ["My Pets"]
        case "empty shapes":
            Path("shapes.json").write_text('{"shapes": []}')
        case "wrong K":
            Path("My Pets/3.pts").write_text(format_pts(SHAPE[:2]))
        case "broken photo":
            Path("My Pets/3.png").write_bytes(Path("My Pets/3.png").read_bytes()[:300])
            Path("My Pets/4.png").write_bytes(b"text")
        case "no experiments":
            Path("experiments").write_text("a file")
        case "no project":
            Path("params.yaml").unlink()
        case "a bad name":
            return [*arguments, "--name", "../away"]
        case "no name":
            Path("My Pets").rename("写真")
            return ["写真", "--shapes", "shapes.json"]
        case "a name in use":
            Path("experiments").mkdir()
            Path("experiments/my-pets.yaml").write_text("# mine\n")
    return arguments


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("no photos", "My Pets: holds no photo (only 1 GIF); give .jpg, .png, .bmp, .webp or .tif"),
        ("one photo", "My Pets: holds 1 photo, too few for one in each of train, validation, test; give more photos"),
        ("no place", "nowhere: does not exist; set PHOTOS to a file"),
        ("no shapes", "no photo has a .pts beside it, so there is no shape; give some with --shapes"),
        ("empty shapes", "shapes.json: holds no shapes; write"),
        ("wrong K", "My Pets/3.pts: has 2 landmarks but the shapes have 3; make them agree"),
        ("broken photo", "2 faults in My Pets: (1) 3.png: cannot be read"),
        ("no experiments", "experiments: a file stands where a folder is needed"),
        ("no project", "params.yaml does not exist; run this from the project's root"),
        ("a bad name", "--name ../away: is not a name for an experiment; use letters, digits, - and _"),
        ("no name", "写真: gives the experiment no name; choose one with --name"),
        ("a name in use", "experiments/my-pets.yaml already exists; --force replaces it"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(run: Run, what: str, sentence: str) -> None:
    arguments = spoil(what)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code, out, error = run(*arguments)
    assert (code, out) == (1, "")
    assert sentence in " ".join(error.split()) and "Traceback" not in error
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_file_in_an_archive_is_named_as_the_archive_s(run: Run) -> None:
    Path("My Pets/3.png").write_bytes(b"text")
    shutil.make_archive("pets", "zip", "My Pets")
    code, _, error = run("pets.zip", "--shapes", "shapes.json")
    assert code == 1 and "pets.zip: 3.png: is not a readable image" in " ".join(error.split())


def test_force_replaces_and_the_user_s_own_share_wins(run: Run, place: Path) -> None:
    spoil("a name in use")
    code, out, _ = run("My Pets", "--shapes", "shapes.json", "--force", "--crop-fill", "0.6")
    assert code == 0 and "crop_fill 0.6, as you say." in out
    assert experiments.plan(place, "my-pets")["prepare"]["crop_fill"] == 0.6
    assert run("My Pets", "--shapes", "shapes.json", "--force", "--crop-fill", "60")[0] == 2


def test_the_landmarks_beside_the_photos_can_be_the_shapes(run: Run, place: Path) -> None:
    for number in range(8):
        Path(f"My Pets/{number}.pts").write_text(format_pts(SHAPE + number / 4))
    code, out, _ = run("My Pets", "--name", "own")
    assert code == 0 and "8 have landmarks, which" in out and "measured on 8 photos" in out
    wanted = experiments.plan(place, "own")
    assert wanted["data"]["shapes"] is None and wanted["prepare"]["crop_fill"] == 0.5


def test_modes_are_promised_only_where_training_uses_them(run: Run, place: Path) -> None:
    """Few labelled photos all measure, so no training photo is cut by its landmarks."""
    for number in range(8, 40):
        picture(Path(f"My Pets/{number}.png"), seed=number)
    for number in range(8):
        Path(f"My Pets/{number}.pts").write_text(format_pts(SHAPE + number / 4))
    _, out, _ = run("My Pets", "--shapes", "shapes.json")
    assert "8 have landmarks" in out and "Its modes are not used, since no training photo has landmarks" in out
    for number in range(8, 40):
        Path(f"My Pets/{number}.pts").write_text(format_pts(SHAPE + number / 4))
    _, out, _ = run("My Pets", "--shapes", "shapes.json", "--force")
    assert "Enough for the mean shape and 4 modes of the 20 that" in out, "10 shapes and their mirror images"


def test_labels_of_a_tool_measure_as_those_beside_the_photos_do(run: Run, place: Path) -> None:
    images = [f"My Pets/{number}.png" for number in range(8)]
    order = [2, 0, 1]
    names, shapes = [NAMES[k] for k in order], [(SHAPE[order] + k / 4).tolist() for k in range(8)]
    write_shapes(place / "labels.json", names=names, shapes=shapes, images=images)
    _, out, _ = run("My Pets", "--shapes", "labels.json")
    assert "None has landmarks" in out and "The shapes name 8 of them: give that file as --labels as well" in out
    code, out, _ = run("My Pets", "--shapes", "shapes.json", "--labels", "labels.json", "--name", "told")
    assert code == 0 and "8 have landmarks, which measure" in out and "measured on 8 photos" in out
    wanted = experiments.plan(place, "told")
    assert wanted["data"]["labels"] == str(place / "labels.json") and wanted["prepare"]["crop_fill"] == 0.5
    code, out, _ = run("My Pets", "--labels", "labels.json", "--name", "alone")
    assert code == 0 and "Shapes: 8 of 3 landmarks, those of the photos themselves." in out and "ear ⇄" in out
    assert experiments.plan(place, "alone")["data"]["shapes"] is None
    flat = [np.full((3, 2), 20.0).tolist() for _ in range(8)]
    write_shapes(place / "labels.json", shapes=flat, images=images)
    code, _, error = run("My Pets", "--shapes", "shapes.json", "--labels", "labels.json", "--name", "flat")
    assert code == 1 and "labels.json: 0.pts: " in " ".join(error.split())


def test_the_gan_is_trained_where_it_is_asked_for(run: Run, place: Path) -> None:
    def iterations() -> list[int]:
        stages = experiments.plan(place, "my-pets")["stages"].values()
        return [stage["iterations"] for stage in stages if stage.get("gan_every")]

    run("My Pets", "--shapes", "shapes.json")
    assert iterations() == [0] and "GAN is left out" in Path("experiments/my-pets.yaml").read_text()
    run("My Pets", "--shapes", "shapes.json", "--force", "--gan")
    assert min(iterations()) > 0 and "GAN" not in Path("experiments/my-pets.yaml").read_text()


def test_the_finer_model_is_that_of_its_experiment_on_these_photos(run: Run, place: Path) -> None:
    (place / "experiments").mkdir()
    shutil.copy(ROOT / "experiments" / "fine.yaml", place / "experiments")
    run("My Pets", "--shapes", "shapes.json")
    usual = experiments.plan(place, "my-pets")
    code, out, _ = run("My Pets", "--shapes", "shapes.json", "--force", "--fine")
    assert code == 0 and "8 are smaller than 128 pixels" in out
    wanted = experiments.plan(place, "my-pets")
    assert wanted == experiments.merge(usual, experiments.load(place / "experiments", "fine"))
    assert wanted["prepare"]["image_size"] == 128 and wanted["stages"]["joint"]["iterations"] == 0
    assert "experiments/fine.yaml" in Path("experiments/my-pets.yaml").read_text()


def test_a_normaliser_that_the_shapes_name_is_written(run: Run, place: Path) -> None:
    write_shapes(place / "shapes.json", normaliser=["left ear", "right ear"])
    _, out, _ = run("My Pets", "--shapes", "shapes.json")
    assert experiments.plan(place, "my-pets")["data"]["normaliser"] == [0, 1]
    assert "in % of the distance from left ear to right ear" in out


def test_a_half_named_pair_is_pointed_out(run: Run, place: Path) -> None:
    write_shapes(place / "shapes.json", names=["left ear", "tail", "nose"])
    _, out, _ = run("My Pets", "--shapes", "shapes.json")
    assert "No mirrored pairs are known" in out and "  left ear: left or right is in the name, but no other" in out
    write_shapes(place / "shapes.json", names=["left ear", "Right Ear", "left nose"])
    _, out, _ = run("My Pets", "--shapes", "shapes.json", "--force")
    assert "  left nose: left or right is in the name" in out


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_file_is_named(run: Run) -> None:
    Path("experiments").mkdir(mode=0o500)
    code, _, error = run("My Pets", "--shapes", "shapes.json")
    assert code == 1 and "no permission to write here" in error and not list(Path("results").glob("*"))
