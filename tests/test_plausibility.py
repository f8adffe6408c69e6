"""How plausible an answer is: the prior of shapes, the agreement of views, the heatmaps, and what becomes of them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from brule.data.pts import format_pts
from brule.data.schemes import Scheme
from brule.detector.model import Detector
from brule.detector.plausibility import PARTS, QUANTILE, Judge, Prior, radius, shrinkage, views
from brule.errors import BruleError
from brule.maths import metrics
from brule.networks.hourglass import LandmarkEncoder

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import plausibility as script

FLIP = (1, 0, 2)
SHAPE = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.7]])
SCHEME = Scheme(("left", "right", "low"), FLIP, (0, 1), ())


def family(count: int, points: int, seed: int = 0, modes: int = 3) -> np.ndarray:
    """Shapes about a random one, in a few modes and with some noise."""
    mean = np.random.default_rng(99).uniform(0.2, 0.8, (points, 2))
    ways = np.random.default_rng(100).normal(0, 0.05, (modes, points, 2))
    rng = np.random.default_rng(seed)
    return (
        mean + np.einsum("nm,mkc->nkc", rng.normal(size=(count, modes)), ways) + rng.normal(0, 2e-3, (count, points, 2))
    )


def turned(shapes: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(scale * shapes @ np.array([[c, s], [-s, c]]) + shift)


def test_the_shrinkage_is_that_of_scikit_learn() -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    for count, size in ((10, 40), (200, 6), (3, 8)):
        samples = np.random.default_rng(count).normal(size=(count, size)) * np.linspace(1, 3, size)
        variances = np.linalg.svd(samples, compute_uv=False) ** 2 / count
        expected = covariance.OAS(assume_centered=True).fit(samples).shrinkage_
        assert shrinkage(variances, size, count) == pytest.approx(expected)


def test_the_distance_is_mahalanobis_of_the_shrunk_covariance() -> None:
    """Against the full matrix: three landmarks leave one direction outside the modes."""
    shapes = family(50, 3)
    prior, found = Prior.of(shapes, shapes.mean(0), None), family(5, 3, seed=1)

    def residuals(points: np.ndarray) -> np.ndarray:
        centre = shapes.mean(0) - shapes.mean((0, 1))
        rows = []
        for one in points - points.mean(1, keepdims=True):
            z, w = one @ [1, 1j], centre @ [1, 1j]  # the best similarity, as one complex number
            moved = z * (z.conj() @ w) / (z.conj() @ z)
            rows.append(np.stack((moved.real, moved.imag), -1) - centre)
        return np.stack(rows).reshape(len(points), -1) / radius(shapes.mean(0))

    S = residuals(shapes).T @ residuals(shapes) / len(shapes)
    rho = shrinkage(np.linalg.eigvalsh(S), 6, 50)
    full = (1 - rho) * S + (rho * np.trace(S) / 6 + 0.02**2) * np.eye(6)
    expected = [np.sqrt(r @ np.linalg.solve(full, r) / 6) for r in residuals(found)]
    np.testing.assert_allclose(prior.distance(found), expected, rtol=1e-6)


def test_the_distance_knows_nothing_of_place_size_and_turn() -> None:
    shapes = family(30, 8)
    prior, found = Prior.of(shapes, shapes.mean(0), None), family(4, 8, seed=2)
    np.testing.assert_allclose(prior.distance(turned(found, 0.7, 3.0, (5, -2))), prior.distance(found), rtol=1e-9)


def test_with_a_mirror_a_shape_is_as_likely_as_its_mirror_image() -> None:
    shapes = SHAPE + np.random.default_rng(0).normal(0, 0.03, (12, 3, 2))
    mean = (SHAPE + mirrored(SHAPE)) / 2
    prior = Prior.of(shapes, mean, FLIP)
    found = SHAPE + np.random.default_rng(1).normal(0, 0.05, (6, 3, 2))
    np.testing.assert_allclose(prior.distance(mirrored(found)), prior.distance(found), rtol=1e-6)


def mirrored(points: np.ndarray) -> np.ndarray:
    twins = points[..., list(FLIP), :]
    return np.stack((1 - twins[..., 0], twins[..., 1]), -1)


@pytest.mark.parametrize("count", [2, 10, 300])
def test_few_shapes_will_do(count: int) -> None:
    """New shapes of the family are nearer than random ones, and about as near as those that the prior has seen."""
    shapes = family(count, 68)
    prior = Prior.of(shapes, shapes.mean(0), None)
    new, other = family(40, 68, seed=5), np.random.default_rng(6).uniform(0.2, 0.8, (40, 68, 2))
    assert prior.distance(new).max() < prior.distance(other).min()
    if count >= 10:
        assert np.median(prior.distance(new)) < 4 * np.median(prior.distance(shapes))


def spot(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the centres of mass of the channels: exact on every view of lights that lie well inside."""
    mass = crops.astype(np.float64).transpose(0, 3, 1, 2) ** 2 + 1e-9
    mass /= mass.sum((-2, -1), keepdims=True)
    axis = (np.arange(crops.shape[1]) + 0.5) / crops.shape[1]
    points = np.stack(((mass.sum(2) * axis).sum(-1), (mass.sum(3) * axis).sum(-1)), -1)
    return points.astype(np.float32), np.full(points.shape[:2], 0.8, np.float32)


def lights(shapes: np.ndarray, size: int = 64, blur: float = 3) -> np.ndarray:
    """Crops (B, S, S, 3) with a red, a green and a blue light at shapes (B, 3, 2)."""
    axis = (np.arange(size) + 0.5) / size
    x, y = shapes[..., 0, None, None], shapes[..., 1, None, None]
    levels = np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) * size**2 / (2 * blur**2))
    return np.asarray(np.rint(255 * levels).astype(np.uint8).transpose(0, 2, 3, 1))


def swapped(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Like `spot`, of an object whose red light is always the one on the left."""
    points, confidence = spot(crops)
    order = np.where(points[:, 0, 0] < points[:, 1, 0], 0, 1)
    points[:, :2] = np.where(order[:, None, None] == 0, points[:, :2], points[:, 1::-1])
    return points, confidence


def test_the_views_of_a_detector_that_moves_with_the_image_agree() -> None:
    shapes = SHAPE + np.random.default_rng(0).uniform(-0.05, 0.05, (4, 3, 2))
    for look, flip in ((spot, None), (swapped, FLIP)):
        crops = lights(shapes)
        seen = views(look, crops, flip)
        assert len(seen) == 4 + (flip is not None)
        np.testing.assert_allclose(seen, np.broadcast_to(look(crops)[0], seen.shape), atol=0.01)
        fixed = views(
            lambda crops: (np.tile(SHAPE, (len(crops), 1, 1)).astype(np.float32), spot(crops)[1]), crops, flip
        )
        assert np.abs(fixed - SHAPE).max() > 0.02, "who does not look disagrees with himself"


@pytest.fixture(scope="module")
def judge() -> Judge:
    rng = np.random.default_rng(0)
    shapes = SHAPE + rng.normal(0, 0.04, (200, 3, 2))
    return Judge.measured(swapped, lights(shapes), Prior.of(shapes, SHAPE, FLIP), FLIP)


def test_all_but_one_in_fifty_of_the_validation_crops_reach_one_half(judge: Judge) -> None:
    shapes = SHAPE + np.random.default_rng(0).normal(0, 0.04, (200, 3, 2))
    crops = lights(shapes)
    found = judge.plausibility(*swapped(crops), views(swapped, crops, FLIP))
    assert ((found >= 0) & (found <= 1)).all()
    assert (found < 0.5).mean() == pytest.approx(1 - QUANTILE, abs=0.006)


def test_every_part_lowers_the_plausibility(judge: Judge) -> None:
    points, sure, seen = SHAPE[None], np.full((1, 3), 0.8), np.repeat(SHAPE[None, None], 5, 0)
    seen = seen + 0.01
    best = judge.plausibility(points, sure, seen)[0]
    odd = SHAPE[[1, 2, 0]][None]
    assert judge.plausibility(odd, sure, seen - points + odd)[0] < best
    assert judge.plausibility(points, sure, seen + 0.1)[0] < best
    assert judge.plausibility(points, sure / 4, seen)[0] < best
    assert judge.doubts(odd, sure)[0] > judge.doubts(points, sure)[0] < judge.doubts(points, sure / 4)[0]


def test_no_answer_at_all_is_not_plausible(judge: Judge) -> None:
    nowhere, together = np.full((1, 3, 2), np.nan), np.full((1, 3, 2), 0.4)
    for points in (nowhere, together):
        assert judge.plausibility(points, np.full((1, 3), 0.9), np.repeat(points[None], 5, 0))[0] < 1e-3
    assert judge.doubts(nowhere, np.ones((1, 3)))[0] == np.inf


def test_a_detector_that_answers_nothing_cannot_be_measured() -> None:
    def blind(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(crops), 3, 2), np.nan, np.float32), np.ones((len(crops), 3), np.float32)

    with pytest.raises(BruleError, match="no finite answer on the validation crops"):
        Judge.measured(blind, lights(SHAPE[None]), Prior.of(SHAPE[None], SHAPE, None), None)


@pytest.fixture(scope="module")
def trained() -> Detector:
    torch.manual_seed(0)
    sizes = {"stacks": 1, "width": 8, "depth": 2}
    encoder = LandmarkEncoder(3, 64, 16, **sizes).eval().requires_grad_(False)
    encoder.heads[0].weight.mul_(40)
    return Detector(encoder, SHAPE.astype(np.float32), SCHEME, 64, 16, architecture=sizes)


def test_a_file_keeps_the_judge_and_an_older_one_has_none(trained: Detector, tmp_path: Path) -> None:
    shapes = SHAPE + np.random.default_rng(1).normal(0, 0.04, (30, 3, 2))
    crops = np.random.default_rng(2).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    judged = trained.judged(crops, shapes)
    judged.save(tmp_path / "new.safetensors")
    trained.save(tmp_path / "old.safetensors")
    new, old = (Detector.load(tmp_path / f"{name}.safetensors") for name in ("new", "old"))
    known, unknown = judged.predict(crops[0], refine=False), old.predict(crops[0], refine=False)
    assert new.predict(crops[0], refine=False).plausibility == pytest.approx(known.plausibility, rel=1e-4)
    assert old.judge is None and unknown.plausibility is None
    np.testing.assert_array_equal(known.points, unknown.points)


@pytest.mark.parametrize(
    "damage",
    [
        {"medians": [0.0, float("nan"), 0.0]},
        {"spreads": [1.0, 0.0, 1.0]},
        {"medians": [0.0] * (len(PARTS) + 1)},
        {"rest": -1.0},
        {"limit": "high"},
        {"modes": torch.zeros(2, 5)},
        {"variances": torch.tensor([1.0, 0.0])},
        {"modes": torch.zeros(50, 6), "variances": torch.ones(50)},
        {"modes": None},
    ],
)
def test_a_damaged_judge_is_refused(trained: Detector, tmp_path: Path, damage: dict[str, Any]) -> None:
    path = tmp_path / "d.safetensors"
    shapes = SHAPE + np.random.default_rng(1).normal(0, 0.04, (2, 3, 2))
    trained.judged(lights(SHAPE[None]), shapes).save(path)
    raw = path.read_bytes()
    header = json.loads(json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["brule"])
    tensors = load_file(path)
    for name, value in damage.items():
        if isinstance(value, torch.Tensor):
            tensors[f"plausibility.{name}"] = value
        elif value is None:
            del tensors[f"plausibility.{name}"]
        else:
            header["plausibility"][name] = value
    save_file(tensors, path, {"brule": json.dumps(header)})
    with pytest.raises(BruleError, match=r"d\.safetensors: what it says of plausibility is damaged; give the path"):
        Detector.load(path)


def test_auroc_is_how_often_one_exceeds_the_other() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    high, low = rng.integers(2, 9, 40), rng.integers(0, 7, 30)  # with many ties
    expected = stats.mannwhitneyu(high, low).statistic / (40 * 30)
    assert metrics.auroc(high, low) == pytest.approx(expected)
    assert metrics.auroc([3, 2], [1]) == 1 and metrics.auroc([1], [1]) == 0.5


def test_the_script_measures_compares_and_saves(
    trained: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for folder in ("right", "wrong"):
        (tmp_path / folder).mkdir()
        for k in range(4):
            pixels = rng.integers(0, 256 if folder == "right" else 30, (120, 160, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{k}.png")
            (tmp_path / folder / f"{k}.pts").write_text(format_pts(SHAPE * 50 + [20, 30]))
    validation = tmp_path / "crops/validation"
    validation.mkdir(parents=True)
    np.save(validation / "images.npy", rng.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8))
    (validation / "index.csv").write_text("name,source,group,labelled,framed\n" + "a.png,s,g,0,1\n" * 9)
    np.save(tmp_path / "crops/shapes.npy", (SHAPE + rng.normal(0, 0.04, (12, 3, 2))).astype(np.float32))
    trained.save(tmp_path / "old.safetensors")

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["plausibility.py", *arguments])
        script.run()
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    with pytest.raises(BruleError, match=r"old\.safetensors: has no plausibility; give --measure"):
        run("old.safetensors", "--right", "right")
    run("old.safetensors", "--measure", "crops", "--save", "new.safetensors")
    table = run("new.safetensors", "--right", "right", "--wrong", "wrong")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")][2:]
    assert [row[:2] for row in rows] == [["right", "4"], ["wrong", "4"], ["background", "4"]]
    assert rows[0][4] == "–" and all(0 <= float(row[4]) <= 1 for row in rows[1:])
    assert "its rank correlation with the plausibility: " in table
    table = run("new.safetensors", "--right", "right", "--wrong", "wrong", "--search", "-n", "2")
    assert [line.split("|")[1:3] for line in table.splitlines()[2:]] == [[" right ", " 2 "], [" wrong ", " 2 "]]
    with pytest.raises(BruleError, match=r"crops: holds no photo with a \.pts beside it"):
        run("new.safetensors", "--right", "crops")
