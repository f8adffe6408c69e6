"""What to label next: every kind of image, the doubtful of each kind, and no outlier."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brule.cli import command
from brule.data import prepared
from brule.data.crop import DVE
from brule.data.layouts import Record
from brule.data.prepare import prepare
from brule.data.pts import format_pts
from brule.data.schemes import Scheme
from brule.data.sources import fetch
from brule.data.splits import listed
from brule.detector.model import Detector
from brule.detector.suggestion import choose, descriptors
from brule.networks.hourglass import LandmarkEncoder

sys.path.insert(0, str(Path(__file__).parent / "data"))
import sections

RNG = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
SIZES = (200, 40, 20, 10)
KINDS = np.concatenate([c + RNG.normal(0, 0.5, (n, 2)) for c, n in zip(CENTRES, SIZES, strict=True)])
OF = np.repeat(range(4), SIZES)


def test_every_kind_gets_one_however_rare_it_is():
    chosen = choose(KINDS, np.zeros(len(KINDS)), 4)
    assert sorted(OF[chosen]) == [0, 1, 2, 3]


def test_of_one_kind_the_doubtful_image_is_chosen_unless_it_is_an_outlier():
    away = np.linalg.norm(KINDS - CENTRES[OF], axis=1)
    central, outlier = (np.flatnonzero(OF == 0)[f(away[OF == 0])] for f in (np.argmin, np.argmax))
    doubt = np.zeros(len(KINDS))
    doubt[[central, outlier]] = 1, 2
    chosen = choose(KINDS, doubt, 4)
    assert chosen[0] == central
    assert outlier not in chosen


@pytest.mark.parametrize("count", [1, 7, 270, 1000])
def test_as_many_as_wanted_each_once_and_the_most_doubtful_first(count: int):
    doubt = RNG.random(len(KINDS))
    chosen = choose(KINDS, doubt, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(KINDS))
    assert list(doubt[chosen]) == sorted(doubt[chosen], reverse=True)
    assert chosen == choose(KINDS, doubt, count)


def test_copies_of_one_image_do_not_stop_it():
    assert len(set(choose(np.zeros((9, 3)), np.arange(9.0), 4))) == 4


def test_exposure_does_not_make_another_kind_but_landmarks_and_content_do():
    crop = RNG.integers(0, 120, (24, 24, 3), dtype=np.uint8)
    crops = np.stack([crop, crop * 2, crop[::-1], crop])
    shape = RNG.random((5, 2))
    kinds = descriptors(crops, np.stack([shape, shape, shape, shape + 0.1]))
    apart = np.linalg.norm(kinds - kinds[0], axis=1)
    assert apart[1] < 1e-2
    assert min(apart[2:]) > 0.5


SHAPE = np.array([[18.0, 20.0], [46.0, 20.0], [32.0, 46.0]])
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 14 photos, of which two are labelled, and a detector that was never trained."""
    monkeypatch.chdir(tmp_path)
    Path("pets/more").mkdir(parents=True)
    for number in range(14):
        name = f"pets/{'more/' if number % 2 else ''}{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (80, 64, 3), dtype=np.uint8)).save(name)
    for labelled in ("pets/0.PTS", "pets/more/1.pts"):
        Path(labelled).write_text(format_pts(SHAPE))
    torch.manual_seed(0)
    sizes = {"stacks": 1, "width": 8, "depth": 2}
    encoder, scheme = LandmarkEncoder(3, 64, 16, **sizes).eval(), Scheme.plain(["left", "right", "nose"])
    detector = Detector(encoder, (SHAPE / 64).astype(np.float32), scheme, 64, 16, {}, sizes, DVE)
    crops = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    detector.save("old.safetensors")
    detector.judged(crops, SHAPE[None] / 64 + np.zeros((5, 1, 1))).save("models/detector.safetensors")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brule", "suggest", *arguments])
        with pytest.raises(SystemExit) as exit_:
            command.main()
        shown = capsys.readouterr()
        return int(exit_.value.code or 0), shown.out, shown.err

    return call


def names(folder: str) -> list[str]:
    lines = Path(folder, "labelled.txt").read_text().splitlines()
    assert lines[0].startswith("#")
    return lines[1:]


def test_photos_get_a_list_a_sheet_and_copies_and_labelled_ones_are_left_out(place: Path, run: Run) -> None:
    code, out, _ = run("pets", "-n", "5", "--out", "next")
    assert code == 0 and out.startswith("next: 5 of 12 photos to label")
    chosen = names("next")
    assert len(set(chosen)) == 5 and not {"folder/0.png", "folder/more/1.png"} & set(chosen)
    copied = {path.relative_to("next/photos").as_posix() for path in Path("next/photos").rglob("*.png")}
    assert {f"folder/{name}" for name in copied} == set(chosen)
    assert Image.open("next/sheet.png").width > 1000
    run("pets", "-n", "5", "--out", "again")
    assert names("again") == chosen
    assert run("pets", "-n", "99", "--all", "--out", "every")[1].startswith("every: 14 of 14")


def test_the_list_is_one_that_prepare_reads(place: Path, run: Run) -> None:
    run("pets", "-n", "3", "--out", "next")
    images = [f"folder/{path.relative_to('pets').as_posix()}" for path in Path("pets").rglob("*.png")]
    records = [Record(image, str(Path(image).with_suffix(".pts")), image, None, False, None) for image in images]
    assert listed(Path("next/labelled.txt"), records) == set(names("next"))


def test_without_photos_the_training_crops_are_taken(place: Path, run: Run) -> None:
    Path("shapes.csv").write_text("left_x,left_y,right_x,right_y,nose_x,nose_y\n" + "18,20,46,20,32,46\n")
    fetch(sections.data(source="folder", location="pets", shapes="shapes.csv"), 0, Path("data/raw"))
    prepare(Path("data/raw"), prepared.CROPS, sections.prepare(), 0)
    code, *_ = run("-n", "4", "--out", "next")
    crops = prepared.load(prepared.CROPS, "train", labels=False)
    assert code == 0 and set(names("next")) <= set(crops.index["name"][~crops.index["labelled"]])
    assert len(list(Path("next/photos").rglob("*.png"))) == 4


def test_images_of_data_extra_are_not_proposed_since_nothing_reads_their_landmarks(place: Path, run: Run) -> None:
    Path("others").mkdir()
    for number in range(6):
        shutil.copy("pets/2.png", f"others/{number}.png")
    Path("shapes.csv").write_text("left_x,left_y,right_x,right_y,nose_x,nose_y\n" + "18,20,46,20,32,46\n")
    extra = {"source": "folder", "location": "others", "use": "join"}
    fetch(sections.data(source="folder", location="pets", shapes="shapes.csv", extra=extra), 0, Path("data/raw"))
    prepare(Path("data/raw"), prepared.CROPS, sections.prepare(), 0)
    index = prepared.load(prepared.CROPS, "train", labels=False).index
    assert index["name"].str.startswith("extra/").sum() == 6
    for flags in ((), ("--all",)):
        run("-n", "99", "--out", f"next{len(flags)}", *flags)
        assert all(name.startswith("folder/") for name in names(f"next{len(flags)}"))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["pets", "--out", "pets"], 1, "pets: exists and is not an empty folder"),
        (["pets", "-n", "0", "--out", "next"], 2, "0 is not a number of photos"),
        (["pets", "--out", "next", "--model", "old.safetensors"], 1, "has no plausibility"),
        (["pets/0.png", "--out", "next"], 1, "no photo without labels is left"),
        (["nowhere/*.png", "--out", "next"], 1, "holds no photo"),
        (["pets", "other/2.png", "--out", "next"], 1, "another photo is called folder/2.png, too"),
        (["--out", "next"], 1, "run the prepare stage again"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_writes_nothing(
    place: Path, run: Run, arguments: list[str], code: int, sentence: str
) -> None:
    Path("other").mkdir()
    Path("other/2.png").write_bytes(Path("pets/2.png").read_bytes())
    got, out, err = run(*arguments)
    assert (got, out) == (code, "") and sentence in err
    assert not Path("next").exists()


def test_an_unreadable_photo_is_told_and_the_others_are_chosen_from(place: Path, run: Run) -> None:
    Path("pets/broken.png").write_text("no image")
    code, out, err = run("pets", "-n", "2", "--out", "next")
    assert code == 1 and "broken.png: is not a readable image" in err and out.startswith("next: 2 of 12")


def test_a_name_that_no_list_can_hold_is_told(place: Path, run: Run) -> None:
    shutil.copy("pets/2.png", b"pets/a\xff.png")
    code, out, err = run("pets", "-n", "2", "--out", "next")
    assert (code, out) == (1, "") and "pets/a\ufffd.png: its name is not UTF-8, so no list can hold it" in err
    assert not Path("next").exists()
