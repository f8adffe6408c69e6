"""`brule shapes`: what is clicked is in the file at once, and what is not valid is one sentence and changes nothing."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brule import files
from brule.app import clicking
from brule.app.sheet import Sheet, opened
from brule.cli import click, command
from brule.data.forms import own_json
from brule.data.labels import Labels
from brule.data.landmarks import read_shapes
from brule.data.schemes import Scheme
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import start

SIZES = {"a.png": (60, 40), "b.png": (50, 50), "c.jpg": (40, 60)}
QUESTION: dict[str, Any] = {
    "names": ["left eye", "right eye", "nose"],
    "edges": [[0, 2]],
    "pairs": [[0, 1]],
    "normaliser": None,
    "shapes": [[[1.5, 2], [3, 4], [5, 6.25]], [[7, 8], None, [9, 10]], None],
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three photos in photos/."""
    (tmp_path / "photos").mkdir()
    for name, size in SIZES.items():
        Image.linear_gradient("L").resize(size).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def sheet(pictures: Path, *names: str) -> Sheet:
    return Sheet(pictures.parent / "shapes.json", [opened(pictures / name, name) for name in names or SIZES])


def save(known: Sheet, **other: Any) -> dict[str, Any]:
    return known.save(json.dumps({**QUESTION, "revision": known.told()["revision"], **other}).encode())


def test_a_whole_shape_is_one_that_training_reads_and_half_of_one_is_not(pictures: Path) -> None:
    known = sheet(pictures)
    state = save(known)
    assert (state["whole"], state["drafts"]) == (1, 1)
    read = read_shapes(known.out)
    np.testing.assert_array_equal(read.points, [QUESTION["shapes"][0]])
    assert read.scheme == Scheme(tuple(QUESTION["names"]), (1, 0, 2), None, ((0, 2),))
    assert read.images == ("a.png",) and read.sizes == ((60, 40),)
    save(known, shapes=[None, QUESTION["shapes"][1], None])
    with pytest.raises(BruleError, match="holds no shapes"):
        read_shapes(known.out)


@pytest.mark.parametrize("shapes", [QUESTION["shapes"], [None, QUESTION["shapes"][1], None], [None] * 3])
def test_the_next_start_goes_on_where_this_one_was(pictures: Path, shapes: list[Any]) -> None:
    known = sheet(pictures)
    save(known, shapes=shapes, normaliser=[0, 1])
    before = known.told()
    assert before["shapes"] == shapes and before["normaliser"] == [0, 1] and before["names"] == QUESTION["names"]
    assert sheet(pictures).told() == before
    save(known, names=[], edges=[], pairs=[], normaliser=None, shapes=[None] * 3)
    assert sheet(pictures).told()["names"] == []


def test_photos_that_are_not_given_keep_their_shapes(pictures: Path) -> None:
    save(sheet(pictures))
    other = sheet(pictures, "c.jpg")
    told = other.told()
    assert [(one["name"], one["shown"]) for one in told["photos"]] == [
        ("c.jpg", True),
        ("a.png", False),
        ("b.png", False),
    ]
    save(other, shapes=[[[1, 1], [2, 2], [3, 3]], *told["shapes"][1:]])
    assert sheet(pictures).told()["shapes"] == [*QUESTION["shapes"][:2], [[1, 1], [2, 2], [3, 3]]]
    with pytest.raises(IndexError):
        other.picture(1)


def test_shapes_of_another_tool_are_continued_if_they_name_their_photos(pictures: Path) -> None:
    out = pictures.parent / "shapes.json"
    points = np.arange(8.0).reshape(2, 2, 2)
    files.write_json(out, own_json.mapping(Labels(points, None, ("b.png", "b.png"))))
    told = sheet(pictures).told()
    assert told["names"] == ["0", "1"] and told["shapes"] == [None, points[0].tolist(), None, points[1].tolist()]
    files.write_json(out, own_json.mapping(Labels(points)))
    with pytest.raises(BruleError, match=r"shapes\.json: does not name the photo of each shape; give another"):
        sheet(pictures)
    files.write_json(out, own_json.mapping(Labels(points[:1], None, ("b.png",), ((9, 9),))))
    with pytest.raises(BruleError, match=r"b\.png had 9 × 9 pixels when it was clicked, but now has 50 × 50"):
        sheet(pictures)
    for shape, sentence in (
        (np.zeros((1, 600, 2)), r"shapes\.json: has 600 points; use at most 500"),
        (np.full((1, 2, 2), 1e7), r"shapes\.json: the shape of b\.png: .* is not a place in a photo"),
    ):
        files.write_json(out, own_json.mapping(Labels(shape, None, ("b.png",))))
        with pytest.raises(BruleError, match=sentence):
            sheet(pictures)
    drafts = '{"names": ["a"], "shapes": [[[1, 2]]], "images": ["a.png"], "drafts": %s}'
    for text, sentence in {
        drafts % "3": "drafts is not a list",
        drafts % "[3]": "a draft does not name its image",
        drafts % '[{"image": "b.png", "points": []}]': "the draft of b.png: has 0 points, but there are 1 names",
        drafts % '[{"image": "b.png", "points": [["x", 1]]}]': "the draft of b.png: ",
        "{": "line 1: not valid JSON",
        "[]": "is another kind of file",
        '{"shapes": 3}': "is another kind of file",
        '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}': "is another kind of file",
        '{"version": "5", "imagePath": "a.png", "shapes": []}': "is another kind of file, which would be lost; give",
    }.items():
        out.write_text(text)
        with pytest.raises(BruleError, match=sentence):
            sheet(pictures)
        assert out.read_text() == text


NAMES, SHAPE = QUESTION["names"], QUESTION["shapes"][0]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no names": ({"names": None}, "the request: names is not a list of words"),
    "an empty name": ({"names": ["a", " ", "b"]}, "the request: ' ' is not a name"),
    "half a character": ({"names": ["a", "\ud800", "b"]}, "the request: '\\ud800' is not a name"),
    "a long name": ({"names": ["a" * 81, "b", "c"]}, "the request: 'aaa"),
    "a name twice": ({"names": ["a", "b", " a"]}, "the request: two points are called 'a'"),
    "too many points": ({"names": [str(k) for k in range(501)]}, "the request: has 501 points; use at most 500"),
    "an unknown name": ({"edges": [["nose", "chin"]]}, "the request: edges: ['nose', 'chin'] is not a pair"),
    "no such point": ({"pairs": [[0, 3]]}, "the request: pairs: [0, 3] is not a pair of landmarks"),
    "two partners": ({"pairs": [[0, 1], [1, 2]]}, "the request: pairs: a landmark stands in two pairs"),
    "no shapes": ({"shapes": None}, "the request: shapes is not one for each of the 3 photos"),
    "too few shapes": ({"shapes": [SHAPE]}, "the request: shapes is not one for each of the 3 photos"),
    "wrong K": ({"shapes": [SHAPE[:2], None, None]}, "a.png: has 2 points, but there are 3 names"),
    "words": ({"shapes": [None, [["x", 1], None, None], None]}, "b.png: ['x', 1] is not a place in a photo"),
    "one number": ({"shapes": [None, [[1], None, None], None]}, "b.png: [1] is not a place in a photo"),
    "NaN": ({"shapes": [None, None, [[math.nan, 1], None, None]]}, "c.jpg: [nan, 1] is not a place in a photo"),
    "beyond all": ({"shapes": [[[1, 10**400], None, None], None, None]}, "a.png: [1, 1000"),
    "truth": ({"shapes": [[[True, 1], None, None], None, None]}, "a.png: [True, 1] is not a place"),
    "an old page": ({"revision": "0"}, "{out} was changed elsewhere, perhaps in another tab, or for other photos, so"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence_and_changes_nothing(
    served: Callable[..., Any], pictures: Path, what: str
) -> None:
    known = sheet(pictures)
    save(known)
    before, site = known.out.read_bytes(), served(clicking.application(known))
    other, sentence = WRONG[what]
    question = {**QUESTION, "revision": known.told()["revision"], **other}
    status, told, _ = site.ask("sheet", json.dumps(question).encode(), Content_Type="application/json")
    assert (
        status == (409 if what == "an old page" else 400)
        and told["error"].startswith(sentence.format(out=known.out))
        and "\n" not in told["error"]
    )
    assert known.out.read_bytes() == before


def test_who_may_ask_for_what(served: Callable[..., Any], pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = sheet(pictures)
    site = served(clicking.application(known))
    question = json.dumps({**QUESTION, "revision": known.told()["revision"]}).encode()
    kind = {"Content_Type": "application/json"}
    assert site.ask("sheet", question, Origin="https://elsewhere.example", **kind)[0] == 403
    assert site.ask("sheet", None, Host="elsewhere.example")[0] == 400
    assert site.ask("sheet", question, Content_Type="text/plain")[0] == 415
    for data in (b"[", b"[]", b"[" * 10**5):
        assert site.ask("sheet", data, **kind)[1]["error"].startswith("the request is not valid; send ")
    monkeypatch.setattr(clicking, "LARGEST", 10)
    assert site.ask("sheet", question, **kind)[0] == 413
    for path in (
        "photos/3",
        "thumbnails/3",
        "photos/x",
        "photos/../shapes.json",
        "shapes.json",
        "invocations",
        "model",
    ):
        status, told, headers = site.ask(path)
        assert status == 404 and told["error"].endswith("is not served here; open / in a browser")
    assert "default-src 'none'" in headers["content-security-policy"] and not known.out.exists()
    for path in ("", "static/shapes.js", "static/shapes.css", "photos/2", "thumbnails/0"):
        assert site.ask(path)[0] == 200
    (pictures / "b.png").unlink()
    status, told, _ = site.ask("photos/1")
    assert status == 400 and told["error"].startswith(f"{pictures / 'b.png'}: there is no such file")


def test_nobody_overwrites_what_another_has_written(pictures: Path) -> None:
    one, other = sheet(pictures), sheet(pictures)
    stale = json.dumps({**QUESTION, "names": ["x", "y", "z"], "revision": other.told()["revision"]}).encode()
    save(one)
    with pytest.raises(BruleError, match="was changed elsewhere"):
        other.save(stale)
    assert other.told() == one.told(), "a page that is loaded again goes on from the file"
    edited = one.out.read_bytes().replace(b'"names"', b"names")
    one.out.write_bytes(edited)
    for _ in range(2):
        with pytest.raises(BruleError, match="not valid JSON"):
            other.told()
    with pytest.raises(BruleError, match="was changed elsewhere"):
        other.save(json.dumps({**QUESTION, "revision": other._token}).encode())
    assert one.out.read_bytes() == edited, "not even a file that cannot be read any more"
    one.out.unlink()
    assert save(one)["whole"] == 1, "a file that was deleted is written again"


def test_a_page_of_other_photos_writes_nothing(pictures: Path) -> None:
    old = sheet(pictures)
    question = json.dumps({**QUESTION, "revision": old.told()["revision"]}).encode()
    others = Sheet(old.out, [opened(pictures / name, f"elsewhere/{name}") for name in SIZES])
    with pytest.raises(BruleError, match="or for other photos, so nothing was saved; reload this page"):
        others.save(question)
    assert not old.out.exists()


def test_a_full_disk_costs_nothing_that_was_saved(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = sheet(pictures)
    save(known)
    before = known.out.read_bytes()

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(files, "synchronise", full)
        with pytest.raises(BruleError, match=r"shapes\.json: the disk is full; free some space"):
            save(known, names=["x", "y", "z"])
    assert known.out.read_bytes() == before and sorted(os.listdir(pictures.parent)) == ["photos", "shapes.json"]
    save(known, names=["x", "y", "z"])
    assert known.told()["names"] == ["x", "y", "z"]


def test_a_turned_photo_is_shown_and_measured_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    known = Sheet(tmp_path / "shapes.json", [opened(tmp_path / "turned.jpg", "turned.jpg")])
    assert known.told()["photos"] == [{"name": "turned.jpg", "size": (20, 30), "shown": True}]
    assert known.picture(0)[:2] == b"\xff\xd8" and not known.out.exists()


def test_the_command_goes_on_with_its_file_and_passes_over_what_is_no_photo(pictures: Path) -> None:
    (pictures / "torn.png").write_bytes(b"no photo")
    link, kept = pictures.parent / "shapes.json", pictures.parent / "kept.json"
    link.symlink_to(kept)
    running = start("photos", cwd=pictures.parent, name="shapes")
    try:
        assert "shows 3 photos; Ctrl-C stops it." in running.told
        told = running.ask("/sheet", method="GET")[1]
        assert [one["name"] for one in told["photos"]] == list(SIZES)
        assert running.ask("/sheet", {**QUESTION, "revision": told["revision"]})[1]["whole"] == 1
        running.process.kill()
    finally:
        error = running.process.communicate()[1]
    assert "photos/torn.png: is not a readable image" in error and "(it is skipped)" in error
    assert link.is_symlink() and kept.is_file(), "what it links to is written"
    running = start("photos", cwd=pictures.parent, name="shapes")
    try:
        assert "which holds 1 shape of 3 points so far" in running.told
        assert running.ask("/sheet", method="GET")[1]["shapes"] == QUESTION["shapes"]
        assert running.end(signal.SIGINT)[0] == 130
    finally:
        running.process.kill()
    assert sorted(os.listdir(pictures.parent)) == ["kept.json", "photos", "shapes.json"]


def test_of_many_photos_some_are_shown_and_all_that_were_begun() -> None:
    found = {f"{k}.png": Path(f"{k}.png") for k in range(100)}
    assert list(click._few(found, 4, {"9.png", "elsewhere.png"})) == ["0.png", "9.png", "25.png", "50.png", "75.png"]
    assert click._few(found, 100, set()) == click._few(found, 1000, set()) == found


def test_what_cannot_be_started_is_told_in_one_line(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pictures.parent)
    for name in ("empty", "folder.json", "other"):
        Path(name).mkdir()
    Image.new("L", (9, 9)).save("other/a.png")
    Path("torn.png").write_bytes(b"no photo")
    Path("bad.json").write_text("{")
    for words, sentence in {
        ("photos", "--out", "shapes.csv"): "shapes.csv: shapes are kept as JSON; give --out a name that ends in .json",
        ("photos", "--out", "folder.json"): "folder.json: is a folder; give --out the name of a file",
        ("photos", "--out", "torn.png/x.json"): "torn.png: a file stands where a folder is needed",
        ("photos", "--out", "bad.json"): "bad.json, line 1: not valid JSON",
        ("empty",): "empty: holds no photo",
        ("photos", "other"): "other/a.png: photos/a.png has the same name, a.png; give the folder above both",
        ("torn.png",): "none of these photos can be read; give others",
    }.items():
        monkeypatch.setattr(sys, "argv", ["brule", "shapes", "--port", "0", *words])
        with pytest.raises(SystemExit) as exit_:
            command.main()
        assert exit_.value.code == 1 and sentence in capsys.readouterr().err
    assert not Path("shapes.json").exists()
