"""What the page asks: it gets what the detector finds, or one sentence about what is wrong."""

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from brule.app import page as asked
from brule.app.page import Page
from brule.data import photos
from brule.detector import text as answers

Opened = Callable[[Page], Any]


def pixels(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def landmarks(site: Any, path: Path, **query: str) -> dict[str, Any]:
    status, answer, _ = site.ask(f"landmarks?{urlencode({'name': path.name, **query})}", path.read_bytes())
    assert status == 200, answer
    return dict(answer)


def test_the_model_says_what_the_page_draws(site: Any, page: Page) -> None:
    _, told, _ = site.ask("model")
    assert told["names"] == ["left eye", "right eye", "nose <b>", "mouth"]
    assert told["edges"] == [[0, 1], [2, 3]] and told["styles"] and told["samples"] == ["a.png", "b.jpg"]
    assert len(told["colours"]) == 4 and all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in told["colours"])
    assert len(set(told["colours"][:3])) == 3  # left is light and right is dark, and the nose has its own


@pytest.mark.parametrize("box", [None, (10.0, -5.0, 60.5, 40.0)])
@pytest.mark.parametrize("refine", [False, True, None])
def test_the_answer_is_what_the_detector_finds(
    site: Any, page: Page, models: Path, box: tuple[float, ...] | None, refine: bool | None
) -> None:
    path = models / "photos" / "a.png"
    query = {
        **({} if refine is None else {"refine": str(int(refine))}),
        **({"box": ",".join(map(str, box))} if box else {}),
    }
    told, expected = landmarks(site, path, **query), page.detector.predict(path, box, refine)
    np.testing.assert_allclose(told["points"], expected.points, atol=1e-3)
    np.testing.assert_allclose(told["confidence"], expected.confidence, atol=1e-4)
    assert told["plausible"], "of an older detector nobody knows"
    assert (told["name"], told["width"], told["height"]) == ("a.png", 120, 90)
    named = {Path("a.png"): expected}
    assert told["files"]["csv"] == answers.csv_text(named) and told["files"]["json"] == answers.json_text(named)
    assert told["files"]["pts"] == answers.pts_text(expected)


def kinds(folder: Path, plain: Path) -> dict[str, Path]:
    """One photo in formats that a browser shows differently from what the detector sees, or not at all."""
    image = Image.open(plain)
    exif = Image.Exif()
    exif[274] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("CMYK").save(folder / "printed.jpg")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "deep.tif")
    image.convert("RGBA").save(folder / "veiled.png")
    image.convert("P").save(folder / "few.gif")
    return {path.stem: path for path in folder.iterdir()}


def test_the_picture_is_what_the_detector_saw(site: Any, page: Page, models: Path, tmp_path: Path) -> None:
    for path in kinds(tmp_path, models / "photos" / "a.png").values():
        told = landmarks(site, path)
        with photos.picture(path, "", None, 64) as read:
            np.testing.assert_array_equal(pixels(told["picture"]), read.image)
        np.testing.assert_allclose(told["points"], page.detector.predict(path).points, atol=1e-3)
    assert landmarks(site, tmp_path / "turned.jpg")["width"] == 90


def test_a_large_picture_is_sent_back_smaller_and_its_points_stay(site: Any, page: Page, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((3000, 2000)).save(tmp_path / "large.png")
    told = landmarks(site, tmp_path / "large.png")
    assert pixels(told["picture"]).shape == (1067, 1600, 3) and (told["width"], told["height"]) == (3000, 2000)
    np.testing.assert_allclose(told["points"], page.detector.predict(tmp_path / "large.png").points, atol=1e-3)


def test_the_same_landmarks_in_other_styles(site: Any, page: Page, models: Path) -> None:
    crop = landmarks(site, models / "photos" / "a.png")["crop"]
    assert page.gan
    drawn = [site.ask("styles", json.dumps({"shape": crop["shape"], "turn": turn}).encode())[1] for turn in (0, 1)]
    images = np.stack([pixels(url) for one in drawn for url in one["images"]])
    expected = page.gan.images([crop["shape"]] * 12, page.gan.styles(12))
    assert np.abs(images.astype(int) - expected).max() <= 1 and images.std(0).max() > 1
    seen = pixels(crop["image"])
    style = page.gan.style_encoder(page.detector.tensor(seen[None]))
    restored = page.gan.images([crop["shape"]], style)[0]
    assert np.abs(pixels(crop["restored"]).astype(int) - restored).max() <= 1


def test_without_a_gan_there_are_no_styles(opened: Opened, page: Page, models: Path) -> None:
    plain = opened(replace(page, gan=None))
    assert not plain.ask("model")[1]["styles"] and landmarks(plain, models / "photos" / "a.png")["crop"] is None
    status, told, _ = plain.ask("styles", b'{"shape": [[0, 0]]}')
    assert status == 400 and "--gan FILE" in told["error"]


WRONG: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("landmarks?name=x.jpg", b"", "x.jpg: the file is empty; choose a photo"),
    "no image": ("landmarks?name=../x.jpg", b"hello", "x.jpg: is not a readable image; choose "),
    "a program": ("landmarks?name=x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x.eps: is not a read"),
    "a torn image": ("landmarks?name=t.png", b"\x89PNG\r\n\x1a\n" + bytes(30), "t.png: "),
    "a box of letters": ("landmarks?name=x&box=a,b,c,d", b"x", "the box 'a,b,c,d' is not valid; give x,y,width,h"),
    "half a question": ("styles", b"[", "the request is not valid; send "),
    "a shape of letters": ("styles", b'{"shape": "x"}', "the request is not valid; send "),
    "another shape": ("styles", b'{"shape": [[0, 0]]}', "points of shape (1, 2) are not landmarks of this model"),
    "no number": ("styles", b'{"shape": [[NaN,0],[0,0],[0,0],[0,0]]}', "points of shape (4, 2) are not landmarks"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence(site: Any, what: str) -> None:
    path, data, sentence = WRONG[what]
    status, told, _ = site.ask(path, data)
    assert status == 400 and told["error"].startswith(sentence) and "\n" not in told["error"]


def test_a_torn_photo_is_named_and_a_box_outside_it_is_refused(site: Any, models: Path) -> None:
    whole = (models / "photos" / "b.jpg").read_bytes()
    assert site.ask("landmarks?name=b.jpg", whole[: len(whole) // 2])[1]["error"].startswith("b.jpg: cannot be read (")
    for box in ("0,0,0,9", "900,900,9,9"):
        status, told, _ = site.ask(f"landmarks?name=b.jpg&box={box}", whole)
        assert status == 400 and told["error"].startswith("b.jpg: the ")


def test_a_name_is_shown_on_one_line_and_without_folders() -> None:
    assert asked.file_name("/home/me/fa\nce.jpg") == "fa ce.jpg"
    assert asked.file_name("") == asked.file_name("/") == "photo"
    assert len(asked.file_name("x" * 999 + ".jpg")) <= 120 and asked.file_name("x" * 999 + ".jpg").endswith(".jpg")
