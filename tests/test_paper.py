"""Fig. 4, 5, 7 and 8: the right faces and landmarks in the right cells, and one sentence for what is missing."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from brule import figures
from brule.data.schemes import Scheme
from brule.detector import gan
from brule.detector import model as detector
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.figures.grids import Canvas, cells, enlarge
from brule.figures.shapes import glow, ring
from brule.figures.theme import WARNING
from brule.networks.generator import Generator
from brule.networks.hourglass import LandmarkEncoder
from brule.networks.style import NoiseToStyle, StyleEncoder
from brule.stages.paper import Request, catalogue, courses, pictures
from brule.stages.scores import measure

ROOT = Path(__file__).parents[1]
SCHEME = Scheme.plain([f"point {k}" for k in range(5)])
OUT = Path("out.png")


@pytest.fixture
def trained(project: Path) -> Path:
    """A project with a detector and a GAN, untrained but for what their headers say."""
    torch.manual_seed(0)
    sizes = {"stacks": 1, "width": 16, "depth": 1}
    told = {"image_size": 64, "map_size": 16, "scheme": SCHEME, "training": {"mode": "semi-supervised"}}
    barycenter = np.load("data/barycenter.npy")
    encoder = LandmarkEncoder(5, 64, 16, **sizes)
    detector.save("models/detector.safetensors", encoder, barycenter=barycenter, architecture=sizes, **told)
    write_gan()
    return project


def write_gan(iterations: int = 40, landmarks: int = 5) -> None:
    model: dict[str, Any] = {"map_size": 16, "condition_sigma": 1.5, "generator": {"width": 4, "max_width": 8}}
    model["style"] = {"size": 8, "width": 4, "latent": 8, "depth": 2}
    networks = {"generator": Generator(landmarks, 64, 16, 8, 4, 8), "noise_to_style": NoiseToStyle(8, 8, 2)}
    networks["style"] = StyleEncoder(64, 8, 4)
    facts: dict[str, Any] = {"landmarks": landmarks, "image_size": 64, "model": model, "iterations": iterations}
    gan.save("models/gan.safetensors", networks, **facts)


def recorded(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[tuple[Any, ...]]:
    """The arguments that a drawing function is called with; it draws all the same."""
    calls: list[tuple[Any, ...]] = []
    real = getattr(module, name)

    def record(*args: Any) -> None:
        calls.append(args)
        real(*args)

    monkeypatch.setattr(module, name, record)
    return calls


def pixels(path: Path | str = OUT) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_fig4_goes_from_the_best_to_the_worst_and_draws_the_second_rows_landmarks(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch, pictures, "restyled")
    assert catalogue.draw("fig4", Request(OUT)) == []
    rows, drawn, _, _, heading, note = calls[0]
    found, networks = Detector.load("models/detector.safetensors"), Gan.load("models/gan.safetensors")
    errors = measure(found, pictures._images("test"), np.load("data/barycenter.npy").astype(float)).errors["detector"]
    shown = np.stack([rows[0][2], rows[1][2]], axis=1).ravel()
    assert shown.tolist() == np.sort(errors).tolist(), "eight test images: all of them, the two rows interleaved"
    for images, points, _ in rows:
        assert np.allclose(found.points(images), points, atol=1e-5)
    assert (drawn == networks.images(rows[1][1], networks.styles(4))).all()
    assert "Semi-supervised training: landmarks found on 8 of 8 test images" in heading
    assert f"the mean of all is {errors.mean():.2f} %" in note
    labels = {"found": rows[0][0], "found ": rows[1][0], "G(L, z)": drawn}
    canvas = Canvas(labels, 192, caption=22, footer=note, heading=heading)
    assert pixels().shape == (canvas.height, canvas.width, 3)
    x, y = map(int, canvas.corner(2, 1))
    assert np.abs(pixels()[y : y + 192, x : x + 192].astype(int) - enlarge(drawn[1], 192)).mean() < 1


def test_fig5_is_in_one_style(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(monkeypatch, pictures, "restyled")
    for style in (0, 3):
        assert catalogue.draw("fig5", Request(OUT, style=style)) == []
    networks = Gan.load("models/gan.safetensors")
    for (rows, drawn, *_), style in zip(calls, (0, 3), strict=True):
        assert len(rows) == 1
        assert (drawn == networks.images(rows[0][1], networks.styles(4)[style].expand(8, -1))).all()
    assert (calls[0][1] != calls[1][1]).any()
    with pytest.raises(BruleError, match="--style -1: styles are counted from 0"):
        catalogue.draw("fig5", Request(OUT, style=-1))


def test_without_landmarks_the_images_are_shown_without_errors(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("data/crops/test/landmarks.npy")
    np.save(path, np.full_like(np.load(path), np.nan))
    calls = recorded(monkeypatch, pictures, "restyled")
    catalogue.draw("fig4", Request(OUT))
    assert all(errors is None for _, _, errors in calls[0][0]) and "no landmarks to measure" in calls[0][-1]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"iterations": 0}, r"gan\.safetensors: this GAN was never trained; set gan_every in one of the stages"),
        ({"landmarks": 4}, r"gan\.safetensors: it draws 4 landmarks at 64 px, but the detector finds 5"),
    ],
)
def test_a_gan_that_cannot_draw_these_is_named(trained: Path, facts: dict[str, int], sentence: str) -> None:
    write_gan(**facts)
    with pytest.raises(BruleError, match=sentence):
        catalogue.draw("fig4", Request(OUT))
    assert not OUT.exists()


def test_fig7_has_the_barycenter_in_the_middle_of_eight_other_faces(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch, pictures, "ring")
    catalogue.draw("fig7", Request(OUT))
    centre, maps, faces, *_ = calls[0]
    assert centre.shape == (5, 16, 16) and maps.shape == (8, 5, 16, 16) and len(np.unique(faces, axis=0)) == 8
    peak = np.unravel_index(centre[0].argmax(), (16, 16))
    assert peak == tuple((np.load("data/barycenter.npy")[0, ::-1] * 16).astype(int)), "the first landmark's pixel"
    assert np.allclose(maps.sum((-2, -1)), 1, atol=1e-4)
    for name in ("images.npy", "landmarks.npy"):
        path = Path("data/crops/test") / name
        np.save(path, np.load(path)[:7])
    index = Path("data/crops/test/index.csv")
    pd.read_csv(index).head(7).to_csv(index, index=False)
    with pytest.raises(BruleError, match=r"has 7 images, but Fig\. 7 shows 8"):
        catalogue.draw("fig7", Request(OUT))


def test_a_glow_lies_where_its_measure_does(tmp_path: Path) -> None:
    maps = np.zeros((2, 16, 16), np.float32)
    maps[0, 4, 12], maps[1, 12, 4] = 1, 0.5
    scheme = Scheme(("a", "b"), edges=((0, 1),))
    tile = glow(maps, None, scheme).astype(int)
    dark, bright = tile[230, 230], [tile[81, 225], tile[225, 81]]
    assert dark.sum() < 100 and all(light.sum() > 300 for light in bright), "a measure shows up to its own peak"
    face = np.full((64, 64, 3), 200, np.uint8)
    assert glow(maps, face, scheme)[230, 230].sum() > dark.sum() + 100
    ring(maps, np.stack([maps] * 8), np.stack([face] * 8), tmp_path / OUT, scheme, "", "")
    x, y = 14 + 2 * (288 + 8), 30 + 14 + 2 * (288 + 8)
    assert (pixels(tmp_path / OUT)[y : y + 288, x : x + 288] == glow(maps, face, scheme)).all()


def sampled(folder: Path, iterations: tuple[int, ...]) -> np.ndarray:
    """Pictures of samples as training draws them, and their eight images, landmarks at the upper left corner."""
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    rows = {name: images for name in ("image", "restored", "style 1", "style 2")}
    paths = [folder / f"{iteration:06d}.png" for iteration in iterations]
    figures.sample_grid(rows, np.zeros((8, 5, 2)), paths[0], SCHEME)
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    return images


def test_cells_undo_a_sample_grid(tmp_path: Path) -> None:
    images = sampled(tmp_path, (500,))
    grid = cells(pixels(tmp_path / "000500.png"))
    assert grid.shape == (4, 8, 128, 128, 3)
    for row, column in ((1, 0), (3, 7)):
        assert np.abs(grid[row, column].astype(int) - enlarge(images[column], 128)).mean() < 1
    with pytest.raises(BruleError, match=r"a picture of 100 × 100 pixels is not a grid of samples"):
        cells(np.zeros((100, 100, 3), np.uint8))


def test_fig8_shows_the_same_faces_over_the_iterations_and_marks_the_alarms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BruleError, match=r"results/samples: holds no pictures .*experiment\.py collapse"):
        catalogue.draw("fig8", Request(OUT))
    every = tuple(range(50, 651, 50))
    images = sampled(Path("results/samples"), every)
    table = pd.DataFrame({"iteration": [20, 100, 500], "stage": "warm", "monitors/alarms": [np.nan, 0.0, 2.0]})
    table.to_csv("results/history.csv", index=False)
    calls = recorded(monkeypatch, courses, "frames")
    catalogue.draw("fig8", Request(OUT))
    columns, _, _, _, alarmed = calls[0]
    assert len(columns) == 8 and min(columns) == 50 and max(columns) == 650 and set(columns) <= set(every)
    assert alarmed == {iteration for iteration in columns if iteration >= 500}
    for faces in columns.values():
        assert np.abs(faces[3][20:].astype(int) - enlarge(images[3], 128)[20:]).mean() < 1
    drawn, red = pixels().astype(int), 255 * np.array(to_rgb(WARNING))
    marked = (np.abs(drawn[:60] - red).max(-1) < 40).any(0)
    assert marked[900:].any() and not marked[:600].any(), "the numbers of the last columns alone are red"
    Path("results/samples/000050.png").write_bytes(b"cut off")
    with pytest.raises(BruleError, match=r"000050\.png: is not a whole PNG; restore it with dvc checkout --force"):
        catalogue.draw("fig8", Request(OUT))


def test_the_command_lists_what_there_is_and_writes_nothing_where_something_is_missing(tmp_path: Path) -> None:
    called = [sys.executable, str(ROOT / "pipelines/figure.py")]
    listed = subprocess.run([*called, "--list"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line[:4] for line in listed.stdout.splitlines()[::2]] == [f"fig{n}" for n in range(3, 9)]
    failed = subprocess.run([*called, "fig8"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "Traceback" not in failed.stderr
    for wrong, words in (("fig4 --runs a", "not from --runs"), ("fig8 --out a.txt", "a name that ends in .png")):
        failed = subprocess.run([*called, *wrong.split()], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert failed.returncode == 2 and words in failed.stderr
    assert not list(tmp_path.iterdir())
