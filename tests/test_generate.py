"""`brule generate`: labelled data, whose labels are what was drawn, and one sentence for what cannot work."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brule.cli import command
from brule.data import prepared
from brule.data.prepare import prepare
from brule.data.pts import format_pts, read_pts
from brule.data.schemes import Scheme
from brule.data.sources import fetch
from brule.detector import gan as gans
from brule.detector import generation
from brule.detector.gan import Gan
from brule.detector.model import Detector, save
from brule.errors import BruleError
from brule.networks.generator import Generator
from brule.networks.hourglass import LandmarkEncoder
from brule.networks.style import NoiseToStyle, StyleEncoder

sys.path.insert(0, str(Path(__file__).parent / "data"))
import sections

SCHEME = Scheme(("left", "right", "nose", "mouth"), None, (0, 1), ())
SHAPE = np.array([[0.25, 0.5], [0.75, 0.5], [0.5, 0.625], [0.5, 0.875]])
SHAPES = SHAPE + np.random.default_rng(0).integers(-4, 5, (9, 4, 2)) / 128
Run = Callable[..., tuple[int, str, str]]


class Numbers:
    """A GAN that writes the landmarks into the pixels as numbers, beside the number of percent to be off by."""

    def styles(self, count: int, truncation: float, seed: int) -> Tensor:
        return torch.randint(1, 11, (count, 1), generator=torch.Generator().manual_seed(seed)) * truncation

    def images(self, shapes: np.ndarray, styles: Tensor, batch: int) -> np.ndarray:
        images = np.zeros((len(shapes), 4, 4, 3), np.uint8)
        images[:, 0, :, :2] = shapes * 128
        images[:, 1] = styles[:, None]
        return images


@dataclass(frozen=True, repr=False)
class Reads(Detector):
    """Reads these landmarks, all shifted to the right by that."""

    def points(self, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        points = images[:, 0, :, :2] / 128
        eyes = np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)
        return (points + np.stack([images[:, 1, 0, 0] * eyes / 100, 0 * eyes], -1)[:, None]).astype(np.float32)


def drawn(count: int = 150, seed: int = 0, truncation: float = 1.0, within: float | None = None) -> Any:
    detector = Reads(nn.Identity(), SHAPE.astype(np.float32), SCHEME, 4, 4)
    return list(generation.draw(Numbers(), detector, SHAPES, count, seed, truncation, within))  # type: ignore[arg-type]


def test_each_image_has_the_landmarks_it_was_drawn_from_and_their_error() -> None:
    found = drawn()
    assert len(found) == 150
    for each in found:
        np.testing.assert_array_equal(each.pixels[0, :, :2], each.points * 128)
        assert each.error == pytest.approx(each.pixels[1, 0, 0], rel=1e-3)
    assert {each.points.tobytes() for each in found} == {shape.tobytes() for shape in SHAPES}, "every shape has a turn"
    assert {round(each.error) for each in found} == set(range(1, 11)), "and so has every style"
    assert {round(each.error) for each in drawn(truncation=0.0)} == {0}


def test_the_seed_decides_alone() -> None:
    one, same, other = ([each.pixels.tobytes() for each in drawn(9, seed)] for seed in (3, 3, 4))
    assert one == same != other
    assert [each.pixels.tobytes() for each in drawn(150, 3)][:9] == one, "more images begin with the same ones"


def test_only_images_within_a_limit_are_kept_and_they_are_enough() -> None:
    every = [each.pixels.tobytes() for each in drawn(400)]
    found = drawn(150, within=3.5)
    assert len(found) == 150 and max(each.error for each in found) <= 3.5
    kept = [each.pixels.tobytes() for each in found]
    assert kept[:20] == [pixels for pixels in every if pixels in set(kept)][:20], "the first ones that are good enough"
    with pytest.raises(BruleError, match=r"--within 0\.5: the detector agrees on only 0 of the 256 images"):
        drawn(within=0.5)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `generate` needs, in miniature and untrained."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"stacks": 1, "width": 8, "depth": 2}
    facts: dict[str, Any] = {"barycenter": SHAPE, "scheme": SCHEME, "image_size": 64, "map_size": 16}
    save("models/detector.safetensors", LandmarkEncoder(4, 64, 16, **sizes), architecture=sizes, **facts)
    write_gan("models/gan.safetensors", 40)
    Path("data/crops").mkdir(parents=True)
    np.save("data/crops/shapes.npy", SHAPES.astype(np.float32))
    return tmp_path


def write_gan(path: str, iterations: int) -> None:
    style = {"size": 8, "width": 4, "latent": 8, "depth": 2}
    model = {"map_size": 16, "condition_sigma": 1.5, "generator": {"width": 4, "max_width": 8}, "style": style}
    networks = {"generator": Generator(4, 64, 16, 8, 4, 8), "noise_to_style": NoiseToStyle(8, 8, 2)}
    networks["style"] = StyleEncoder(64, 8, 4)
    gans.save(path, networks, landmarks=4, image_size=64, model=model, iterations=iterations)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("drawn", …)` → exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brule", "generate", *arguments])
        with pytest.raises(SystemExit) as exit_:
            command.main()
        shown = capsys.readouterr()
        return int(exit_.value.code or 0), shown.out, shown.err

    return call


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_the_folder_is_labelled_data_for_the_pipeline(project: Path, run: Run) -> None:
    code, out, _ = run("drawn", "-n", "20", "--seed", "5")
    assert code == 0
    told = re.search(r"^drawn: 20 images with 4 landmarks each.* (\d+\.\d\d) % .* more than (\d+\.\d\d) %", out)
    assert told and out.count("\n") == 1
    gan, detector = Gan.load("models/gan.safetensors"), Detector.load("models/detector.safetensors")
    made = list(generation.draw(gan, detector, prepared.load_shapes("data/crops").astype(float), 20, 5, 0.7))
    assert float(told[1]) == pytest.approx(np.mean([each.error for each in made]), abs=0.01)
    assert float(told[2]) == pytest.approx(np.percentile([each.error for each in made], 90), abs=0.01)
    for number, each in enumerate(made):
        np.testing.assert_array_equal(np.asarray(Image.open(f"drawn/{number:06d}.png")), each.pixels)
        np.testing.assert_allclose(read_pts(f"drawn/{number:06d}.pts"), each.points * 64 - 0.5, atol=1e-3)
    fetch(sections.data(source="folder", location="drawn"), 0, project / "raw")
    prepare(project / "raw", project / "again", sections.prepare(), 0)
    assert prepared.load_manifest("again")["counts"] == {
        "train": 15, "validation": 2, "test": 3, "labelled": 15, "extra": 0, "shapes": 15,
    }  # fmt: skip


def test_a_seed_makes_the_same_files_and_shapes_may_be_one_s_own(project: Path, run: Run) -> None:
    for folder, seed in {"a": "1", "b": "1", "c": "2"}.items():
        assert run(folder, "-n", "3", "--seed", seed)[0] == 0
    assert contents("a") == contents("b") and len(contents("a")) == 6
    assert contents("a")["000000.png"] != contents("c")["000000.png"]
    Path("own.pts").write_text(format_pts(300 * SHAPE[:, ::-1] + 1000))
    assert run("d", "-n", "2", "--shapes", "own.pts", "--truncation", "1")[0] == 0
    points = read_pts("d/000000.pts")
    assert np.ptp(points[:, 0]) == pytest.approx(0.737 * 64, abs=0.01), "placed as the training crops were"
    ratio = np.ptp(points[:, 0]) / np.ptp(SHAPE[:, 1])
    np.testing.assert_allclose(points - points[0], (SHAPE - SHAPE[0])[:, ::-1] * ratio, atol=0.01)


def untrained() -> None:
    write_gan("models/gan.safetensors", 0)


def of_three_landmarks() -> None:
    np.save("data/crops/shapes.npy", SHAPES[:, :3].astype(np.float32))


def own_of_five() -> None:
    Path("five.csv").write_text("x0,y0,x1,y1,x2,y2,x3,y3,x4,y4\n0,0,1,0,2,0,3,3,4,4\n")


def upright() -> None:
    Path("line.pts").write_text("1 1\n1 2\n1 3\n1 4\n")


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (untrained, [], r"models/gan\.safetensors: was never trained"),
        (of_three_landmarks, [], r"data/crops/shapes\.npy: its shapes have 3 landmarks, but the GAN draws 4"),
        (own_of_five, ["--shapes", "five.csv"], r"five\.csv: its shapes have 5 landmarks, but the GAN draws 4"),
        (upright, ["--shapes", "line.pts"], r"line\.pts: the landmarks have no width"),
        (lambda: Path("data/crops/shapes.npy").unlink(), [], r"data/crops/shapes\.npy: is missing"),
        (lambda: None, ["--shapes", "no.csv"], r"no\.csv: does not exist"),
        (lambda: None, ["--model", "models:/brule/1"], r"models:/brule/1: the registry keeps no GAN; give one"),
        (lambda: None, ["--gan", "no.safetensors"], r"no\.safetensors: there is no such file"),
        (lambda: None, ["--within", "0.01"], r"--within 0\.01: the detector agrees on only 0 of the 256 images"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_leaves_no_folder(
    project: Path, run: Run, change: Callable[[], object], options: list[str], sentence: str
) -> None:
    change()
    code, out, error = run("drawn", "-n", "3", *options)
    assert (code, out) == (1, "") and re.search(f"^{sentence}", error, re.MULTILINE)
    assert not Path("drawn").exists() and not list(Path().glob(".drawn*"))


def test_a_folder_with_files_is_left_alone_and_an_empty_one_is_filled(project: Path, run: Run) -> None:
    Path("mine").mkdir()
    assert run("mine", "-n", "1")[0] == 0
    before = contents("mine")
    for taken in ("mine", "mine/000000.png"):
        code, _, error = run(taken, "-n", "2")
        assert code == 1 and error.startswith(f"{taken}: exists and is not an empty folder")
    assert contents("mine") == before


@pytest.mark.parametrize(
    "option",
    [("-n", "0"), ("-n", "x"), ("--seed", "-1"), ("--truncation", "1.5"), ("--within", "0"), ("--within", "a")],
)
def test_an_option_out_of_range_is_named(project: Path, run: Run, option: tuple[str, str]) -> None:
    code, _, error = run("drawn", *option)
    assert code == 2 and option[0] in error and f"{option[1]} is not" in error
