"""Rendered faces: the landmarks are where the drawn features are, every factor moves alone, and the task is 300-W's."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from brule.synthetic import render
from brule.synthetic.factors import Factors, sample
from brule.synthetic.head import EXPRESSION, IDENTITY, LANDMARKS, track
from brule.synthetic.picture import draw
from brule.synthetic.view import PIVOT, place, tracked

SOURCE = Path(__file__).resolve().parents[2] / "src"


def landmarks(count: int, seed: int = 0) -> np.ndarray:
    """(count, 68, 2): the landmarks alone, without drawing."""
    faces = (sample(seed, index) for index in range(count))
    return np.array([place(face.pose, tracked(face.shape), 96)[1] for face in faces])


def plain(seed: int = 0, **expression: float) -> Factors:
    """A frontal, evenly lit, bare, beardless face with the mean identity and a wide-open view of its features."""
    face = sample(seed, 0)
    values = np.array([expression.get(name, 0.0) for name in EXPRESSION])
    return replace(
        face,
        shape=replace(face.shape, identity=np.zeros(len(IDENTITY)), expression=values),
        pose=replace(face.pose, yaw=0.0, pitch=0.0, roll=0.0, fill=0.6, shift=(0.0, 0.0), distance=2000.0),
        light=replace(face.light, azimuth=0.0, elevation=30.0, key=(0.6,) * 3, ambient=(0.4,) * 3),
        skin=replace(face.skin, tone=(0.85, 0.65, 0.52), lips=(0.75, 0.25, 0.28), mottle=0.0, age=0.0),
        eyes=replace(face.eyes, iris=(0.2, 0.12, 0.07), gaze=(0.0, 0.0)),
        hair=replace(face.hair, style="short", fringe=0.0, beard=0.0, moustache=0.0),
        props=replace(face.props, glasses="none", hat="none", occluder="none"),
        camera=replace(face.camera, blur=0.0, noise=0.0, contrast=1.0, gamma=1.0, tint=(1.0,) * 3, grey=False),
    )


def inside(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N,): whether points (N, 2) lie in the polygon (M, 2), by the parity of crossings."""
    a, b = polygon[:, None], np.roll(polygon, -1, axis=0)[:, None]
    crosses = (a[..., 1] > points[:, 1]) != (b[..., 1] > points[:, 1])
    at = a[..., 0] + (points[:, 1] - a[..., 1]) / (b[..., 1] - a[..., 1] + 1e-12) * (b[..., 0] - a[..., 0])
    return (crosses & (points[:, 0] < at)).sum(axis=0) % 2 == 1


def pixels(size: int) -> np.ndarray:
    """(size², 2): x, y of every pixel's centre, row by row."""
    y, x = np.mgrid[:size, :size]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(float)


@pytest.mark.parametrize("size", [64, 96, 160])
def test_form(size: int) -> None:
    image, points = render(3, 5, size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert points.shape == (68, 2) and points.dtype == np.float64
    assert image.std() > 10


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        render(0, 0, 16)
    with pytest.raises(ValueError):
        render(-1, 0)


def test_size_is_resolution_alone() -> None:
    """Half-pixel centres: the same face at twice the size has its landmarks at 2x + 1/2."""
    small, large = render(1, 4, 96)[1], render(1, 4, 192)[1]
    np.testing.assert_allclose(large, 2 * small + 0.5, atol=1e-9)


def test_deterministic_in_any_order() -> None:
    forward = [render(9, index) for index in (0, 1, 2)]
    backward = [render(9, index) for index in (2, 1, 0)][::-1]
    for (image, points), (again, same) in zip(forward, backward, strict=True):
        assert np.array_equal(image, again) and np.array_equal(points, same)
    assert not np.array_equal(forward[0][0], forward[1][0])
    assert not np.array_equal(forward[0][0], render(10, 0)[0])


def test_deterministic_across_processes() -> None:
    program = (
        "import hashlib; from brule.synthetic import render; image, points = render(9, 1);"
        "print(hashlib.sha256(image.tobytes() + points.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], cwd=SOURCE, capture_output=True, text=True, check=True)
    image, points = render(9, 1)
    assert other.stdout.strip() == hashlib.sha256(image.tobytes() + points.tobytes()).hexdigest()


def test_pupils_are_dark_and_lie_between_the_lids() -> None:
    """Independent of the landmarks: the dark blob in each half of the eye band is the pupil, wherever it was drawn."""
    image, points = draw(plain(eye_close=-0.3), 192)
    grey = image.mean(axis=2)
    for eye in (points[36:42], points[42:48]):
        within = inside(eye, pixels(192)).reshape(192, 192)
        dark = within & (grey < 0.5 * np.median(grey[within & (grey > np.median(grey[within]))]))
        regions, count = label(dark)
        assert count > 0
        sizes = np.bincount(regions.ravel())[1:]
        y, x = np.nonzero(regions == 1 + sizes.argmax())
        width = np.linalg.norm(eye[3] - eye[0])
        assert np.hypot(*(np.array([x.mean(), y.mean()]) - eye.mean(axis=0))) < 0.12 * width
        assert len(x) > 0.05 * width**2


def test_gaze_moves_the_pupils_and_not_the_landmarks() -> None:
    face = plain(eye_close=-0.3)
    left, right = (draw(replace(face, eyes=replace(face.eyes, gaze=(angle, 0.0))), 192) for angle in (-20.0, 20.0))
    assert np.array_equal(left[1], right[1])
    eye = inside(left[1][36:42], pixels(192))
    x = pixels(192)[eye, 0]

    def centre(image: np.ndarray) -> float:
        weight = np.clip(140.0 - image.mean(axis=2).ravel()[eye], 0, None)
        return float((weight * x).sum() / weight.sum())

    assert centre(right[0]) - centre(left[0]) > 2.0


def test_lips_are_red_exactly_inside_their_outline() -> None:
    """Redness over the lower half of the face, thresholded half-way, covers the landmarks' lip polygon."""
    image, points = draw(plain(), 192)
    colour = image.astype(float)
    redness = (colour[..., 0] / (colour.sum(axis=2) + 1.0)).ravel()
    grid = pixels(192)
    lips = inside(points[48:60], grid) & ~inside(points[60:68], grid)
    box = (
        np.abs(grid - points[48:60].mean(axis=0)) < [0.8 * np.ptp(points[48:60, 0]), 1.1 * np.ptp(points[48:60, 1])]
    ).all(1)
    level = 0.5 * (np.median(redness[lips]) + np.median(redness[box & ~inside(points[48:60], grid)]))
    red = box & (redness > level)
    overlap = (red & lips).sum() / (red | lips).sum()
    assert overlap > 0.75
    # the same polygon two pixels aside fits worse: the agreement is not mere bulk
    for aside in ([4.0, 0.0], [-4.0, 0.0], [0.0, 4.0], [0.0, -4.0]):
        moved = inside(points[48:60] + aside, grid) & ~inside(points[60:68] + aside, grid)
        assert (red & moved).sum() / (red | moved).sum() < overlap - 0.08


def test_open_mouth_shows_its_dark_inside() -> None:
    image, points = draw(plain(mouth_open=1.0), 192)
    grid, grey = pixels(192), image.mean(axis=2).ravel()
    hole = inside(points[60:68], grid)
    cheek = points[[2, 31]].mean(axis=0) + np.array([[-6, -6], [6, -6], [6, 6], [-6, 6]])
    assert hole.sum() > 50
    assert np.percentile(grey[hole], 30) < 0.5 * grey[inside(cheek, grid)].mean()


def test_jaw_follows_the_drawn_border_of_the_face() -> None:
    """Turned well to one side, before a uniform ground and bald, the far jaw lies on the head's own silhouette."""
    face = plain()
    face = replace(
        face,
        pose=replace(face.pose, yaw=32.0),
        hair=replace(face.hair, style="bald"),
        scene=replace(face.scene, backdrop="plain", colours=((0.0, 1.0, 0.0),) * 3, clothes=(0.0, 1.0, 0.0)),
    )
    image, points = draw(face, 192)
    skin = image[..., 0].astype(float) > image[..., 1].astype(float)
    for mark in points[12:16]:
        row = skin[round(mark[1])]
        border = np.nonzero(row)[0].max()
        assert abs(border - mark[0]) < 2.5


def test_order_of_the_landmarks() -> None:
    for points in landmarks(100):
        axis = points[[45, 46, 47, 42]].mean(axis=0) - points[36:42].mean(axis=0)
        across = axis / np.linalg.norm(axis)
        down = np.array([-across[1], across[0]])
        x, y = points @ across, points @ down
        assert (np.diff(x[[36, 39, 42, 45]]) > 0).all() and x[48] < x[54] and x[31] < x[35] and x[17] < x[26]
        assert y[36:48].max() < y[33] < y[62] < y[8] and y[17:27].min() < y[36:48].min()
        assert (np.diff(y[27:31]) > 0).all() and y[51] < y[57] and y[62] <= y[66] + 0.2
        assert x[0] < x[36] and x[45] < x[16]


def test_yaw_moves_landmarks_as_a_rotation_does() -> None:
    """Without perspective, each inner landmark moves along its own circle: x' = x cos ψ + (z − z₀) sin ψ, y' = y."""
    face = plain()
    points = tracked(face.shape)
    inner = points[track().slices["landmarks"]][17:]
    far = replace(face.pose, distance=1e9)
    straight, turned = (place(replace(far, yaw=yaw), points, 96) for yaw in (0.0, 25.0))
    psi = np.deg2rad(25.0)
    x = inner[:, 0] * np.cos(psi) + (inner[:, 2] - PIVOT[2]) * np.sin(psi)
    measured = (turned[1][17:] - turned[0].offset) / turned[0].scale
    np.testing.assert_allclose(measured[:, 0], x, atol=1e-3)
    np.testing.assert_allclose(
        measured[:, 1], (straight[1][17:, 1] - straight[0].offset[1]) / straight[0].scale, atol=1e-3
    )


def test_template_is_symmetric() -> None:
    flip = [
        *range(16, -1, -1),
        *range(26, 16, -1),
        27,
        28,
        29,
        30,
        35,
        34,
        33,
        32,
        31,
        45,
        44,
        43,
        42,
        47,
        46,
        39,
        38,
        37,
    ]
    flip += [36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    np.testing.assert_allclose(LANDMARKS[flip] * [-1.0, 1.0], LANDMARKS, atol=1e-9)


@pytest.mark.parametrize("group", ["light", "skin", "eyes", "hair", "props", "scene", "camera"])
def test_appearance_leaves_the_landmarks_alone(group: str) -> None:
    one = sample(2, 7)
    image, points = draw(one)
    changed = [draw(replace(one, **{group: getattr(sample(2, index), group)})) for index in (8, 9, 10)]
    assert all(np.array_equal(points, other) for _, other in changed)
    assert any(not np.array_equal(image, other) for other, _ in changed)


def test_factors_are_independent() -> None:
    """Over many faces no pose, shape, light or skin value says anything about another."""
    faces = [sample(4, index) for index in range(600)]
    table = np.array(
        [
            [f.pose.yaw, f.pose.pitch, f.pose.roll, f.pose.fill, f.light.azimuth, f.light.elevation, f.skin.tone[0],
             f.hair.volume, f.eyes.gaze[0], f.scene.clothes[0], f.camera.contrast, f.shape.identity[0],
             f.shape.expression[1]]
            for f in faces
        ]
    )  # fmt: skip
    correlation = np.corrcoef(table.T) - np.eye(table.shape[1])
    assert np.abs(correlation).max() < 0.17
    assert {f.hair.style for f in faces} == {"bald", "short", "receding", "bob", "long"}
    assert {f.props.glasses for f in faces} == {"none", "thin", "thick", "dark"}
    assert {f.props.occluder for f in faces} == {"none", "hand", "microphone", "blob"}


def test_difficulty_is_that_of_real_photographs() -> None:
    """In the protocol's crop: mean shape 15-20 %, its best affine map 6-9 % of the eye distance."""
    points = landmarks(300)
    assert ((points >= 0) & (points <= 95)).all(axis=-1).mean() >= 0.99
    low, high = points.min(axis=1), points.max(axis=1)
    width = high[:, :1] - low[:, :1]
    assert width.min() >= 0.4 * 96 and width.max() <= 0.6 * 96
    side, centre = width / 0.737, (low + high) / 2 - width * [0.0, 2 / 52]
    assert (centre - side / 2 > -2).all() and (centre + side / 2 < 98).all()
    crops = (points - (centre - side / 2)[:, None]) / side[:, None]
    mean, eyes = crops.mean(axis=0), np.linalg.norm(crops[:, 36] - crops[:, 45], axis=1)
    design = np.column_stack([mean, np.ones(68)])
    fitted = np.array([design @ np.linalg.lstsq(design, crop, rcond=None)[0] for crop in crops])
    floor, affine = (100 * (np.linalg.norm(p - crops, axis=-1).mean(axis=1) / eyes).mean() for p in (mean, fitted))
    assert 15 < floor < 20
    assert 6 < affine < 9
