"""Pictures: right colours at the right places, any K, and the same bytes for the same numbers."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from brule import figures
from brule.data.schemes import IBUG68, Scheme, mirrored
from brule.figures import annotation, contact, grids, theme
from brule.figures.grids import Canvas, _choose

PLAIN = Scheme.plain(["a", "b", "c", "d", "e"])


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def near(image: np.ndarray, x: float, y: float, colour: str, radius: int = 3) -> bool:
    """Whether a pixel of about that colour lies within `radius` of (x, y)."""
    window = image[int(y) - radius : int(y) + radius + 1, int(x) - radius : int(x) + radius + 1]
    return bool((np.abs(window - 255 * np.array(to_rgb(colour))).max(-1) < 40).any())


def test_parts_are_what_edges_and_the_mirror_join() -> None:
    part = theme.part_of(IBUG68)
    assert part[0] == part[8] == part[16], "the jaw is one part"
    assert part[17] == part[26], "brows are each other's mirror image"
    assert part[36] == part[45] != part[17], "so are the eyes, and they are not brows"
    assert len({part[k] for k in (0, 17, 27, 31, 36, 48, 60)}) == 7
    assert theme.part_of(PLAIN) == (-1,) * 5
    assert theme.part_of(Scheme(("a", "b", "c"), edges=((2, 1),))) == (-1, 0, 0)


def test_landmarks_are_drawn_where_they_are(tmp_path: Path) -> None:
    """A black grid: the answer's dot has its colour, the truth's is white, and both lie at their own place."""
    images = np.zeros((2, 64, 64, 3), np.uint8)
    answer, truth = np.full((2, 1, 2), [0.25, 0.75]), np.full((2, 1, 2), [0.75, 0.25])
    path = tmp_path / "overlays.png"
    figures.overlays(images, answer, truth, np.array([3.0, 9.0]), Scheme.plain(["only"]), path, titles=("all",))
    canvas = Canvas({"all": images}, 192)
    found = picture(path)
    for column in (0, 1):
        x, y = canvas.corner(0, column)
        assert near(found, x + 0.25 * 192, y + 0.75 * 192, theme.PARTS[0])
        assert near(found, x + 0.75 * 192, y + 0.25 * 192, "white")
        assert not near(found, x + 0.25 * 192, y + 0.25 * 192, theme.PARTS[0])


def test_of_a_larger_set_the_labelled_images_alone_are_ranked(tmp_path: Path) -> None:
    images = np.zeros((5, 64, 64, 3), np.uint8)
    images[3] = 200
    answer, truth = np.full((5, 1, 2), [0.25, 0.75]), np.full((1, 1, 2), [0.75, 0.25])
    path, known = tmp_path / "overlays.png", np.array([3])
    figures.overlays(images, answer, truth, np.array([3.0]), Scheme.plain(["only"]), path, labelled=known)
    canvas = Canvas({"best to worst": images[known]}, 192, 22, "footer")
    x, y = canvas.corner(0, 0)
    assert near(picture(path), x + 100, y + 20, "#c8c8c8")


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path: Path) -> None:
    crops, points = np.zeros((1, 64, 64, 3), np.uint8), np.full((1, 2, 2), 0.5)
    scheme = Scheme.plain(["$\\x$", "b"])
    contact.sheet(crops, points, scheme, tmp_path / "sheet.png", "$\\y$", "A note of $\\z$.")
    assert picture(tmp_path / "sheet.png").std() > 5


def test_images_without_landmarks_are_shown_below_the_few_that_have_some(tmp_path: Path) -> None:
    scheme, path = Scheme.plain(["only"]), tmp_path / "overlays.png"
    images, blank = np.zeros((2, 64, 64, 3), np.uint8), np.full((9, 64, 64, 3), 90, np.uint8)
    places, truth = np.full((9, 1, 2), [0.25, 0.75]), np.full((2, 1, 2), [0.75, 0.25])
    several = {"columns": 3, "unlabelled": blank, "answers": places}
    figures.overlays(images, places[:2], truth, np.array([3.0, 9.0]), scheme, path, **several)
    canvas = Canvas({"best to worst": images, "unseen": blank[:3], "unseen ": blank[3:6]}, 192, 22, "footer")
    found = picture(path)
    assert found.shape[:2] == (canvas.height, canvas.width)
    for row in (1, 2):
        x, y = canvas.corner(row, 2)
        assert near(found, x + 0.25 * 192, y + 0.75 * 192, theme.PARTS[0])
        assert not near(found, x + 0.75 * 192, y + 0.25 * 192, "white"), "there is no truth to draw"
    figures.overlays(images[:0], places[:0], None, None, scheme, tmp_path / "blind.png", **several)
    assert picture(tmp_path / "blind.png").std() > 5
    figures.overlays(images[:0], places[:0], None, None, scheme, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_sides_are_told_apart_by_names_and_else_by_order() -> None:
    assert theme.side_of(Scheme.plain(["right eye", "left eye", "nose"])) == (1, -1, 0)
    assert theme.side_of(Scheme(("a", "b", "c"), (2, 1, 0))) == (-1, 0, 1)
    assert theme.side_of(PLAIN) == (0,) * 5 and not theme.told_by(PLAIN)
    light = theme.colours(IBUG68).mean(1)
    assert all(light[k] > light[other] for k, other in enumerate(IBUG68.flip or ()) if theme.side_of(IBUG68)[k] < 0)


@pytest.mark.parametrize("scheme", [IBUG68, PLAIN, Scheme.plain(["only"])])
@pytest.mark.parametrize("scale", [40, 400])
def test_labels_cover_neither_landmarks_nor_each_other(scheme: Scheme, scale: float) -> None:
    points = np.random.default_rng(5).uniform(0.2, 0.8, (len(scheme.names), 2)) * scale
    words = annotation.texts(scheme, names=len(scheme.names) <= annotation.NAMED)
    placed = list(annotation.places(points, scheme, words, 10.0, 4.0, (0.0, 0.0, float(scale), float(scale))))
    assert len({k for k, _, _ in placed}) == len(placed) <= len(points)
    assert placed or scale == 40, "where there is room some have a place"
    boxes = np.array([[x, y - 5.75, x + width, y + 5.75] for _, (x, y, width), _ in placed]).reshape(-1, 4)
    assert (boxes >= 0).all() and (boxes <= scale).all()
    for one, box in enumerate(boxes):
        inside = (points > box[:2]).all(1) & (points < box[2:]).all(1)
        over = (boxes[:, :2] < box[2:] - 1e-9).all(1) & (boxes[:, 2:] > box[:2] + 1e-9).all(1)
        assert not inside.any() and np.flatnonzero(over).tolist() == [one]


def test_the_names_of_a_close_pair_stand_each_on_its_own_side() -> None:
    """On a butterfly, whose wings all begin in the middle."""
    parts = ("forewing tip", "forewing corner", "hindwing corner", "hindwing tip", "hindwing root")
    names = [f"{side} {part}" for part in ("forewing root", *parts) for side in ("left", "right")]
    left = [[396, 307], [214, 151], [214, 318], [231, 354], [261, 506], [383, 381]]
    right = [[424, 313], [632, 206], [593, 373], [562, 414], [488, 546], [412, 386]]
    points = np.stack([left, right], 1).reshape(12, 2).astype(float)
    outline = tuple((2 * k + side, 2 * k + 2 + side) for k in range(5) for side in (0, 1))
    scheme = Scheme(tuple(names), mirrored(names), None, outline)
    assert scheme.flip is not None
    placed = list(annotation.places(points, scheme, names, 16.0, 12.0, (0.0, 0.0, 720.0, 720.0)))
    assert len(placed) == len(names)
    for k, (x, y, width), _ in placed:
        own, other = (np.linalg.norm(points[each] - [x + width / 2, y]) for each in (k, scheme.flip[k]))
        assert own <= other, names[k]


def test_what_is_labelled_first_is_spread_and_keeps_pairs_together() -> None:
    points = np.random.default_rng(6).uniform(0, 1, (68, 2))
    order = annotation.order(points, IBUG68.flip)
    assert sorted(order) == list(range(68))
    assert IBUG68.flip is not None
    pairs = [k for k in order if k != IBUG68.flip[k]]
    assert all(order.index(IBUG68.flip[k]) - order.index(k) in (1, -1) for k in pairs)
    assert sorted(annotation.order(np.zeros((4, 2)), None)) == [0, 1, 2, 3], "points that coincide are there once, too"


def test_rows_are_best_median_worst() -> None:
    errors = np.random.default_rng(0).permutation(21).astype(float)
    rows = _choose(errors, 21, ("best", "median", "worst"), 3)
    assert [sorted(errors[index]) for index in rows.values()] == [[0, 1, 2], [9, 10, 11], [18, 19, 20]]
    few = _choose(errors[:2], 2, ("best", "median", "worst"), 8)
    assert list(few) == ["best to worst"] and len(few["best to worst"]) == 2, (
        "too few to tell rows apart are there once"
    )
    some = _choose(errors[:7], 7, ("best", "median", "worst"), 4)
    assert list(some) == ["1–4 of 7", "5–7 of 7"] and sorted(np.concatenate(list(some.values()))) == list(range(7))
    assert _choose(None, 0, ("best", "median", "worst"), 4) == {}
    blind = _choose(None, 21, ("best", "median", "worst"), 3)
    assert len({int(k) for index in blind.values() for k in index}) == 9, "without errors: nine different images"


@pytest.mark.parametrize("size", [64, 256])
def test_a_grid_has_its_rows_at_whole_multiples(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(1)
    rows = {name: rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8) for name in ("image", "restored", "style 1")}
    points = rng.uniform(0.2, 0.8, (3, 68, 2))
    path = tmp_path / "samples" / "000400.png"
    figures.sample_grid(rows, points, path, scheme=IBUG68, marked=2)
    canvas = Canvas(rows, max(128, size))
    found = picture(path)
    assert found.shape == (canvas.height, canvas.width, 3)
    x, y = map(int, canvas.corner(2, 1))
    shown = found[y : y + canvas.cell, x : x + canvas.cell]
    original = np.asarray(Image.fromarray(rows["style 1"][1]).resize((canvas.cell,) * 2, Image.Resampling.LANCZOS))
    assert np.abs(shown - original).mean() < 1, "pixels of a row without landmarks are the image's own"
    for row, name in enumerate(("image", "restored")):
        x, y = map(int, canvas.corner(row, 1))
        plain = np.asarray(Image.fromarray(rows[name][1]).resize((canvas.cell,) * 2, Image.Resampling.LANCZOS))
        assert np.abs(found[y : y + canvas.cell, x : x + canvas.cell] - plain).mean() > 2, f"{name} has landmarks"


def test_the_same_numbers_give_the_same_bytes_and_the_style_stays_inside(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    shapes = np.random.default_rng(2).uniform(0, 1, (40, 68, 2))
    for name in ("1.png", "2.png"):
        figures.barycenter(shapes.mean(0), shapes, IBUG68, tmp_path / name)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png", "2.png"], "no temporary file stays"
    assert dict(mpl.rcParams) == before


def test_a_barycenter_may_have_other_landmarks_than_its_shapes(tmp_path: Path) -> None:
    shapes = np.random.default_rng(3).uniform(0, 1, (3, 7, 2))
    figures.barycenter(shapes[0, :5], shapes, PLAIN, tmp_path / "x.png")
    figures.barycenter(shapes[0, :5], None, PLAIN, tmp_path / "y.png")
    assert picture(tmp_path / "x.png").std() > 5 < picture(tmp_path / "y.png").std()


def test_ced_is_drawn_with_and_without_errors(tmp_path: Path) -> None:
    errors = np.random.default_rng(4).gamma(4, 1, 100)
    figures.ced({"detector": errors, "floor": 3 * errors}, tmp_path / "ced.png")
    figures.ced({}, tmp_path / "none.png")
    accent = 255 * np.array(to_rgb(theme.ACCENT))
    blue = [int((np.abs(picture(tmp_path / name) - accent).max(-1) < 20).sum()) for name in ("ced.png", "none.png")]
    assert blue[0] > 500 and blue[1] == 0, "the subject's curve is there only with errors"


def test_history_survives_what_training_writes(tmp_path: Path) -> None:
    """Blank cells, a column without a value, a single row, infinities, no labels at all, an empty table."""
    iteration = np.arange(0, 100, 10)
    table = pd.DataFrame(
        {"iteration": iteration, "stage": ["warm"] * 5 + ["joint"] * 5, "encoder/R_g": 1.0 / (iteration + 1)}
    )
    table["gan/L_rec"] = np.nan
    table["monitors/nearest"] = np.inf
    table["validation/nme"] = np.where(iteration % 50 == 0, 12.0, np.nan)
    path = tmp_path / "history.csv"
    for name, rows in {"full": table, "one": table.head(1), "none": table.head(0)}.items():
        rows.to_csv(path, index=False)
        figures.history(pd.read_csv(path), tmp_path / f"{name}.png", floor=17.0, limits={"nearest": 0.06})
    table.drop(columns="validation/nme").to_csv(path, index=False)
    figures.history(pd.read_csv(path), tmp_path / "blind.png")
    red = 255 * np.array(to_rgb(theme.WARNING))
    lines = {
        name: int((np.abs(picture(tmp_path / f"{name}.png") - red).max(-1) < 30).sum()) for name in ("full", "blind")
    }
    assert lines["full"] > 100 and lines["blind"] == 0, "the floor is drawn where it is known"


def test_history_marks_the_validations_with_an_alarm(tmp_path: Path) -> None:
    """The same error with and without an alarm at the end: the pictures differ, by red pixels near the foot alone."""
    table = pd.DataFrame({"iteration": [100, 200, 300], "stage": "warm", "validation/nme": [20.0, 15.0, 18.0]})
    seen = {}
    for name, alarms in {"healthy": [0.0, 0.0, 0.0], "collapsed": [0.0, 0.0, 2.0]}.items():
        told = table.assign(**{"monitors/alarms": alarms, "alarms": ["spread is 0.4"] * 3})
        figures.history(told, tmp_path / f"{name}.png", floor=17.0)
        seen[name] = picture(tmp_path / f"{name}.png")
    red = {name: (np.abs(image - 255 * np.array(to_rgb(theme.WARNING))).max(-1) < 40) for name, image in seen.items()}
    assert red["collapsed"].sum() > red["healthy"].sum() + 10


@pytest.mark.parametrize("size", [(300, 200), (90, 160), (4000, 2500)])
def test_landmarks_are_drawn_where_they_lie_on_a_photo(tmp_path: Path, size: tuple[int, int]) -> None:
    shares = np.array([[0.25, 0.3], [0.7, 0.6]])
    grids.photo(Image.new("RGB", size, "black"), shares * size - 0.5, tmp_path / "a.png", Scheme.plain(["a", "b"]))
    drawn = picture(tmp_path / "a.png")
    sides = np.array(drawn.shape[1::-1])
    assert sides.max() <= grids.LONGEST and sides[0] / sides[1] == pytest.approx(size[0] / size[1], rel=0.02)
    for x, y in shares * sides:
        assert near(drawn, x, y, theme.PARTS[0])
    assert (drawn.max(-1) > 60).mean() < 0.02, "nothing else is drawn"


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_a_photo_a_pixel_wide_is_drawn(tmp_path: Path, size: tuple[int, int]) -> None:
    grids.photo(Image.new("RGB", size, "black"), np.zeros((2, 2)), tmp_path / "a.png", Scheme.plain(["a", "b"]))
    assert max(Image.open(tmp_path / "a.png").size) <= grids.LONGEST
