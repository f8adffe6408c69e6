"""Photos of any size and orientation. The stub finds coloured lights, so every answer is known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brule import config
from brule.data.crop import DVE, Framing, around, centred, cut, to_pixels, to_units
from brule.data.schemes import Scheme
from brule.detector import finding, prediction
from brule.detector.model import Detector
from brule.detector.prediction import confidence
from brule.errors import BruleError
from brule.maths import heatmaps
from brule.networks.hourglass import LandmarkEncoder

SCHEME = Scheme.plain(["red", "green", "blue"])
SIZE = 64


class Lights(nn.Module):
    """Finds the brightest spot of red, of green and of blue."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images * self.sharpness]


LIGHTS = Detector(Lights(), np.full((3, 2), 0.5, np.float32), SCHEME, SIZE, SIZE)
POINTS = np.array([[70.2, 61.7], [118.9, 64.1], [97.3, 99.6]])


def photo(points: np.ndarray, width: int = 200, height: int = 160, blur: float = 9) -> np.ndarray:
    """A dark photo with a red, a green and a blue light at (x, y), `blur` pixels wide."""
    y, x = np.mgrid[:height, :width]
    channels = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * blur**2)) for px, py in points]
    return np.rint(255 * np.stack(channels, -1)).astype(np.uint8)


def box(points: np.ndarray) -> tuple[float, ...]:
    return (*points.min(0), *np.ptp(points, axis=0))


@pytest.fixture(scope="module")
def trained() -> Detector:
    """A real encoder with random weights, whose maps are peaked: it answers every difference in its input."""
    torch.manual_seed(0)
    encoder = LandmarkEncoder(3, SIZE, 16, stacks=1, width=16, depth=2).eval().requires_grad_(False)
    encoder.heads[0].weight.mul_(40)
    return Detector(encoder, np.full((3, 2), 0.5, np.float32), SCHEME, SIZE, 16)


def test_lights_are_found_in_the_photo_s_own_pixels() -> None:
    for boxes in (None, box(POINTS)):
        found = LIGHTS.predict(photo(POINTS), boxes)
        assert found.names == SCHEME.names
        np.testing.assert_allclose(found.points, POINTS, atol=0.2)


@pytest.mark.parametrize("known", [True, False])
def test_the_answer_is_that_on_the_crop_mapped_back(trained: Detector, known: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    square = around(POINTS[:, :2] * 0.8, *DVE) if known else centred(130, 90)
    crop = cut(Image.fromarray(pixels), square, SIZE)
    found = trained.predict(pixels, box(POINTS * 0.8) if known else None, refine=False)
    expected = to_pixels(trained.points(crop[None])[0].astype(float), square)
    assert np.ptp(expected, axis=0).max() > 5
    np.testing.assert_allclose(found.points, expected, atol=1e-4)


def test_a_crop_as_prepare_cuts_it_is_answered_in_its_own_pixels(trained: Detector) -> None:
    crop = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    expected = trained.points(crop[None])[0] * SIZE - 0.5
    np.testing.assert_allclose(trained.predict(crop, refine=False).points, expected, atol=1e-4)


def test_the_box_is_framed_as_the_detector_s_training_crops_were() -> None:
    wide = Detector(LIGHTS.encoder, LIGHTS.barycenter, SCHEME, SIZE, SIZE, framing=Framing(0.4, 0.1))
    square = around(POINTS, 0.4, 0.1)
    crop = cut(Image.fromarray(photo(POINTS)), square, SIZE)
    expected = to_pixels(wide.points(crop[None])[0].astype(float), square)
    np.testing.assert_allclose(wide.predict(photo(POINTS), box(POINTS), refine=False).points, expected, atol=1e-4)


def test_landmarks_move_with_photo_and_box(trained: Detector) -> None:
    shift = np.array([6, 7])
    scene = np.random.default_rng(2).integers(0, 256, (200, 220, 3), dtype=np.uint8)
    here = trained.predict(scene[20:180, 10:210], box(POINTS), refine=False).points
    moved = trained.predict(scene[13:, 4:], box(POINTS + shift), refine=False).points
    np.testing.assert_allclose(moved, here + shift, atol=1e-3)


def test_landmarks_grow_with_photo_and_box() -> None:
    """Three times as many pixels, each of them repeated: pixel p becomes those around 3p + 1."""
    small = photo(POINTS)
    large = small.repeat(3, 0).repeat(3, 1)
    points = LIGHTS.predict(small, box(POINTS)).points
    np.testing.assert_allclose(LIGHTS.predict(large, box(POINTS * 3 + 1)).points, points * 3 + 1, atol=0.3)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_a_photo_turned_by_its_exif_is_answered_as_displayed(tmp_path: Path, turn: int, suffix: str) -> None:
    """Stored in one of the eight ways, with the tag that undoes it."""
    upright = Image.fromarray(photo(POINTS))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[turn])) if turn > 1 else upright
    exif = Image.Exif()
    exif[274] = turn
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **({"quality": 98} if suffix == "jpg" else {}))
    for boxes in (None, box(POINTS)):
        found = LIGHTS.predict(tmp_path / f"a.{suffix}", boxes, refine=True)
        np.testing.assert_allclose(found.points, LIGHTS.predict(upright, boxes, refine=True).points, atol=0.3)


def test_a_large_jpeg_is_answered_where_it_is(tmp_path: Path) -> None:
    """It is decoded at a fraction of its size; 1003 and 1501 are no multiples of it."""
    points = POINTS * 7
    Image.fromarray(photo(points, 1501, 1003, blur=63)).save(tmp_path / "a.jpg", quality=95)
    for boxes in (None, box(points)):
        np.testing.assert_allclose(LIGHTS.predict(tmp_path / "a.jpg", boxes).points, points, atol=1.0)
    with pytest.raises(BruleError, match=r"a\.jpg: the object lies outside"):
        LIGHTS.predict(tmp_path / "a.jpg", (10, 10, 1e9, 10))


def test_further_looks_mend_a_first_one_from_afar() -> None:
    points = POINTS * 0.25 + [160, 120]
    scene = photo(points, 400, 300, blur=3)
    first, second = (LIGHTS.predict(scene, refine=refine).points for refine in (False, True))
    far, near = (np.abs(found - points).max() for found in (first, second))
    assert far < 2 and near < far / 2


def test_further_looks_change_little_where_the_box_is_right() -> None:
    first, second = (LIGHTS.predict(photo(POINTS), box(POINTS), refine=refine).points for refine in (False, True))
    np.testing.assert_allclose(second, first, atol=0.1)


def test_where_no_further_look_is_possible_the_first_stands() -> None:
    """All lights at one place have no box; those of a tiny photo have one that reaches too far out."""
    together = photo(np.tile(POINTS[:1], (3, 1)))
    first, second = (LIGHTS.predict(together, refine=refine).points for refine in (False, True))
    np.testing.assert_array_equal(first, second)
    wide = Detector(LIGHTS.encoder, LIGHTS.barycenter, SCHEME, SIZE, SIZE, framing=Framing(0.1, 0))
    first, second = (wide.predict(photo(POINTS), refine=refine).points for refine in (False, True))
    np.testing.assert_array_equal(first, second)


def test_by_default_it_looks_again_and_searches_nothing_without_a_judge() -> None:
    far = photo(POINTS * 0.25 + [160, 120], 400, 300, blur=3)
    for boxes in (None, box(POINTS * 0.25 + [150, 125])):
        default, again = LIGHTS.predict(far, boxes), LIGHTS.predict(far, boxes, refine=True)
        np.testing.assert_array_equal(default.points, again.points)
        assert default.plausibility is None


@pytest.fixture(scope="module")
def judged() -> Detector:
    """LIGHTS with a judge, which has seen lights at about POINTS."""
    rng = np.random.default_rng(5)
    shapes = POINTS + rng.normal(0, 4, (60, *POINTS.shape))
    detector = Detector(LIGHTS.encoder, to_units(POINTS, around(POINTS, *DVE)).astype(np.float32), SCHEME, SIZE, SIZE)
    crops = [cut(Image.fromarray(photo(shape)), around(shape, *DVE), SIZE) for shape in shapes]
    return detector.judged(np.stack(crops), shapes / 100)


@pytest.mark.parametrize("place, share", [((40, 30), 0.3), ((480, 300), 0.4), ((150, 20), 1.0), ((250, 180), 0.8)])
def test_the_object_is_found_anywhere_in_a_large_photo(judged: Detector, place: Any, share: float) -> None:
    points = (POINTS - POINTS.min(0)) * share + place
    scene = photo(points, 600, 400, blur=9 * share)
    found = judged.predict(scene)
    np.testing.assert_allclose(found.points, points, atol=1.5)
    assert found.plausibility is not None and found.plausibility > 0.5
    nothing = judged.predict(np.random.default_rng(0).integers(0, 60, (400, 600, 3), dtype=np.uint8))
    assert nothing.plausibility is not None and nothing.plausibility < 0.1


def test_by_default_the_points_are_the_mean_over_the_views(judged: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four views that each see everything a tenth of the crop further right and down, beside the crop itself."""
    monkeypatch.setattr(prediction, "views", lambda look, crops, flip: np.stack([judged.points(crops) + 0.1] * 4))
    once, mean = (judged.predict(photo(POINTS), box(POINTS), refine=refine) for refine in (True, None))
    np.testing.assert_allclose(once.points, POINTS, atol=0.3)
    np.testing.assert_allclose(mean.points - once.points, 0.08 * around(POINTS, *DVE).side, rtol=0.02)
    assert once.plausibility == mean.plausibility


def test_a_search_answers_one_by_one_what_it_answers_together(judged: Detector, tmp_path: Path) -> None:
    scenes = [photo((POINTS - POINTS.min(0)) * 0.4 + place, 300, 240, blur=4) for place in ((30, 40), (200, 150))]
    Image.fromarray(scenes[0]).save(tmp_path / "a.png")
    together = judged.predict([tmp_path / "a.png", scenes[1]], [None, None])
    for scene, answer in zip(scenes, together, strict=True):
        alone = judged.predict(scene)
        np.testing.assert_allclose(answer.points, alone.points, atol=1e-3)
        assert answer.plausibility == pytest.approx(alone.plausibility, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 3), (701, 13)])
def test_a_photo_of_any_size_is_searched(judged: Detector, size: tuple[int, int]) -> None:
    assert np.isfinite(judged.predict(Image.new("RGB", size, "teal")).points).all()


def test_of_a_long_strip_a_bounded_number_of_squares_is_looked_at(
    judged: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = []
    monkeypatch.setattr(finding, "cut", lambda image, square, size: cuts.append(square) or cut(image, square, size))
    judged.predict(Image.new("RGB", (20000, 1)))
    assert 0 < len(cuts) < 700
    assert min(square.x for square in cuts) < 100 and max(square.x for square in cuts) > 19900


def test_a_batch_is_one_by_one(trained: Detector, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images: list[Any] = [rng.integers(0, 256, (60 + i, 90 - 3 * i, 3), dtype=np.uint8) for i in range(5)]
    Image.fromarray(images[1]).save(tmp_path / "1.png")
    images[1], images[2] = tmp_path / "1.png", Image.fromarray(images[2])
    boxes = [None, (20, 20, 40, 30), np.array([15.5, 18, 30, 30]), None, [10, 10, 50, 40]]
    together = trained.predict(images, boxes, refine=False, batch_size=2)
    assert isinstance(together, list) and len(together) == 5
    for image, known, found in zip(images, boxes, together, strict=True):
        alone = trained.predict(image, known, refine=False)
        np.testing.assert_allclose(found.points, alone.points, atol=1e-3)
        np.testing.assert_allclose(found.confidence, alone.confidence, atol=1e-5)


def test_each_photo_of_a_batch_is_looked_at_until_it_is_at_rest() -> None:
    """The first at once, the second after further looks."""
    near, far = photo(POINTS), photo(POINTS * 0.25 + [160, 120], 400, 300, blur=3)
    together = LIGHTS.predict([near, far, near], [box(POINTS), None, None], refine=True)
    alone = [LIGHTS.predict(*each, refine=True) for each in ((near, box(POINTS)), (far, None), (near, None))]
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(found.points, expected.points, atol=1e-3)


def test_none_at_all_and_a_stack_of_arrays_are_several() -> None:
    assert LIGHTS.predict([]) == []
    stack = LIGHTS.predict(np.stack([photo(POINTS), photo(POINTS + 5)]))
    assert isinstance(stack, list)
    np.testing.assert_allclose(stack[1].points, stack[0].points + 5, atol=0.2)


def test_confidence_is_one_over_the_width_in_heatmap_pixels() -> None:
    centre = torch.tensor([[[0.5, 0.47]]], dtype=torch.float64)
    for sigma in (1.0, 1.5, 2.0, 4.0):
        assert confidence(heatmaps.sparse(centre, 64, sigma)).item() == pytest.approx(1 / sigma, rel=1e-6)
    assert confidence(heatmaps.sparse(centre, 64, 0.3)).item() == 1
    even = torch.full((1, 1, 64, 64), 1 / 64**2, dtype=torch.float64)
    assert confidence(even).item() == pytest.approx(math.sqrt(12 / (64**2 - 1)))


def test_confidence_falls_where_a_light_is_blurred() -> None:
    blurred = [LIGHTS.predict(photo(POINTS, blur=blur)).confidence for blur in (8, 16, 32)]
    assert (blurred[0] > blurred[1]).all() and (blurred[1] > blurred[2]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        (1, 2, 3),
        (1, 2, 0, 4),
        (1, 2, -3, 4),
        (1, 2, 3, -4),
        (1, 2, math.nan, 4),
        (1, 2, math.inf, 4),
        "abcd",
        7,
        (1e308,) * 4,
    ],
)
def test_an_invalid_box_gets_one_sentence(wrong: Any) -> None:
    with pytest.raises(BruleError, match=r"image 0: the box .* give x, y, width and height"):
        LIGHTS.predict(photo(POINTS), wrong)


def test_a_box_elsewhere_and_too_few_boxes_get_one_sentence() -> None:
    with pytest.raises(BruleError, match="image 0: the object lies outside the image"):
        LIGHTS.predict(photo(POINTS), (5000, 5000, 10, 10))
    with pytest.raises(BruleError, match="boxes: 1 for 2 images"):
        LIGHTS.predict([photo(POINTS)] * 2, [None])


def test_the_default_framing_is_that_of_prepare() -> None:
    prepare = config.read(Path(__file__).parents[1] / "params.yaml").prepare
    assert Framing(prepare.crop_fill, prepare.crop_lift) == DVE


def test_units_and_pixels_are_inverse() -> None:
    square = around(POINTS, *DVE)
    np.testing.assert_allclose(to_pixels(to_units(POINTS, square), square), POINTS)
