"""The server of the page: it answers what the detector answers, and whatever is wrong in one sentence."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from brule.app import uploads
from brule.app.answering import Guide
from brule.data import photos
from brule.detector import text as answers

SOURCE = str(Path(__file__).parents[2] / "src")
Opened = Callable[[Guide], Any]


def pixels(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def landmarks(site: Any, path: Path, **query: str) -> dict[str, Any]:
    status, answer, _ = site.ask(f"landmarks?{urlencode({'name': path.name, **query})}", path.read_bytes())
    assert status == 200, answer
    return dict(answer)


def test_the_model_tells_what_the_page_draws(site: Any, guide: Guide) -> None:
    _, told, _ = site.ask("model")
    assert told["names"] == ["left eye", "right eye", "nose <b>", "mouth"]
    assert told["edges"] == [[0, 1], [2, 3]] and told["styles"] and told["samples"] == ["a.png", "b.jpg"]
    assert len(told["colours"]) == 4 and all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in told["colours"])
    assert told["colours"][0] == told["colours"][1] != told["colours"][2]


@pytest.mark.parametrize("box", [None, (10.0, -5.0, 60.5, 40.0)])
@pytest.mark.parametrize("refine", [False, True])
def test_it_answers_what_the_detector_answers(
    site: Any, guide: Guide, models: Path, box: tuple[float, ...] | None, refine: bool
) -> None:
    path = models / "photos" / "a.png"
    query = {"refine": str(int(refine)), **({"box": ",".join(map(str, box))} if box else {})}
    told, expected = landmarks(site, path, **query), guide.detector.predict(path, box, refine)
    np.testing.assert_allclose(told["points"], expected.points, atol=1e-3)
    np.testing.assert_allclose(told["confidence"], expected.confidence, atol=1e-4)
    assert (told["name"], told["width"], told["height"]) == ("a.png", 120, 90)
    named = {Path("a.png"): expected}
    assert told["files"]["csv"] == answers.csv_text(named) and told["files"]["json"] == answers.json_text(named)
    assert told["files"]["pts"] == answers.pts_text(expected)


def kinds(folder: Path, plain: Path) -> dict[str, Path]:
    """One photo in forms that a browser would show otherwise than the detector sees it, or not at all."""
    image = Image.open(plain)
    exif = Image.Exif()
    exif[274] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("CMYK").save(folder / "printed.jpg")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "deep.tif")
    image.convert("RGBA").save(folder / "veiled.png")
    image.convert("P").save(folder / "few.gif")
    return {path.stem: path for path in folder.iterdir()}


def test_the_picture_is_what_the_detector_saw(site: Any, guide: Guide, models: Path, tmp_path: Path) -> None:
    for path in kinds(tmp_path, models / "photos" / "a.png").values():
        told = landmarks(site, path)
        np.testing.assert_array_equal(pixels(told["picture"]), photos.picture(path, "", None, 64).image)
        np.testing.assert_allclose(told["points"], guide.detector.predict(path).points, atol=1e-3)
    assert landmarks(site, tmp_path / "turned.jpg")["width"] == 90


def test_a_large_picture_is_sent_back_smaller_and_its_points_stay(site: Any, guide: Guide, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((3000, 2000)).save(tmp_path / "large.png")
    told = landmarks(site, tmp_path / "large.png")
    assert pixels(told["picture"]).shape == (1067, 1600, 3) and (told["width"], told["height"]) == (3000, 2000)
    np.testing.assert_allclose(told["points"], guide.detector.predict(tmp_path / "large.png").points, atol=1e-3)


def test_the_same_landmarks_in_other_styles(site: Any, guide: Guide, models: Path) -> None:
    face = landmarks(site, models / "photos" / "a.png")["face"]
    assert guide.painter
    drawn = [site.ask("styles", json.dumps({"shape": face["shape"], "turn": turn}).encode())[1] for turn in (0, 1)]
    images = np.stack([pixels(url) for one in drawn for url in one["images"]])
    expected = guide.painter.gan.images([face["shape"]] * 12, guide.painter.gan.styles(12))
    assert np.abs(images.astype(int) - expected).max() <= 1 and images.std(0).max() > 1
    crop = pixels(face["crop"])
    style = guide.painter.S(guide.detector.tensor(crop[None]))
    restored = guide.painter.gan.images([face["shape"]], style)[0]
    assert np.abs(pixels(face["restored"]).astype(int) - restored).max() <= 1


def test_without_a_gan_there_are_no_styles(opened: Opened, guide: Guide, models: Path) -> None:
    plain = opened(replace(guide, painter=None))
    assert not plain.ask("model")[1]["styles"] and landmarks(plain, models / "photos" / "a.png")["face"] is None
    status, told, _ = plain.ask("styles", b'{"shape": [[0, 0]]}')
    assert status == 400 and "--gan FILE" in told["error"]


WRONG: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("landmarks?name=x.jpg", b"", "x.jpg: is empty; choose a photo"),
    "no image": ("landmarks?name=../x.jpg", b"hello", "x.jpg: is no image that can be read; choose "),
    "a program": ("landmarks?name=x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x.eps: is no image"),
    "a torn image": ("landmarks?name=t.png", b"\x89PNG\r\n\x1a\n" + bytes(30), "t.png: "),
    "a box of letters": ("landmarks?name=x&box=a,b,c,d", b"x", "the box 'a,b,c,d' is none; give x,y,width,height"),
    "a question that is none": ("styles", b"[", "the question is none; send "),
    "a shape that is none": ("styles", b'{"shape": "x"}', "the question is none; send "),
    "another shape": ("styles", b'{"shape": [[0, 0]]}', "points of shape (1, 2) are no landmarks of this model"),
    "no number": ("styles", b'{"shape": [[NaN,0],[0,0],[0,0],[0,0]]}', "points of shape (4, 2) are no landmarks"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence(site: Any, what: str) -> None:
    path, data, sentence = WRONG[what]
    status, told, _ = site.ask(path, data)
    assert status == 400 and told["error"].startswith(sentence) and "\n" not in told["error"]


def test_a_torn_photo_and_a_box_beside_it_are_told_by_name(site: Any, models: Path) -> None:
    whole = (models / "photos" / "b.jpg").read_bytes()
    assert site.ask("landmarks?name=b.jpg", whole[: len(whole) // 2])[1]["error"].startswith("b.jpg: cannot be read (")
    for box in ("0,0,0,9", "900,900,9,9"):
        status, told, _ = site.ask(f"landmarks?name=b.jpg&box={box}", whole)
        assert status == 400 and len(told["error"]) > 20


def test_a_photo_that_is_too_large_is_told(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "LARGEST", 2**20)
    status, told, _ = site.ask("landmarks?name=x.jpg", bytes(2**20 + 1))
    assert (status, told["error"]) == (413, "x.jpg: has more than 1 MB; choose a smaller photo")


def test_a_name_is_shown_on_one_line_and_without_folders() -> None:
    assert uploads.named("/home/me/fa\nce.jpg") == "fa ce.jpg"
    assert uploads.named("") == uploads.named("/") == "photo"
    assert len(uploads.named("x" * 999 + ".jpg")) <= 120 and uploads.named("x" * 999 + ".jpg").endswith(".jpg")


def test_no_page_from_elsewhere_may_ask(site: Any, models: Path) -> None:
    photo = (models / "photos" / "b.jpg").read_bytes()
    for origin in ("https://elsewhere.example", "null", "http://127.0.0.1:1"):
        status, told, _ = site.ask("landmarks?name=b.jpg", photo, Origin=origin)
        assert status == 403 and told["error"].startswith(origin)
    assert site.ask("landmarks?name=b.jpg", photo, Origin=site.address.rstrip("/"))[0] == 200
    assert site.ask("model", None, Host="elsewhere.example")[0] == 400


@pytest.mark.parametrize("path", ["", "main.js", "look.css", "icon.svg", "model", "samples/0", "thumbnails/1", "none"])
def test_every_answer_carries_the_policy(site: Any, path: str) -> None:
    status, _, headers = site.ask(path)
    assert status == (404 if path == "none" else 200)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_samples_are_the_files_themselves(site: Any, models: Path) -> None:
    assert site.ask("samples/0")[1] == (models / "photos" / "a.png").read_bytes()
    assert Image.open(io.BytesIO(site.ask("thumbnails/0")[1])).size == (120, 90)
    for path in ("samples/2", "thumbnails/2", "../pyproject.toml", "samples/x"):
        status, told, _ = site.ask(path)
        assert status == 404 and "nothing is answered at this address" in told["error"]


def test_a_fault_of_the_program_is_a_sentence_as_well(
    opened: Opened, guide: Guide, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Guide) -> dict[str, Any]:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Guide, "model", fail)
    status, told, _ = opened(guide).ask("model")
    assert (status, told["error"]) == (500, "something went wrong here; the terminal says more")


def test_the_command_opens_the_page_until_ctrl_c(models: Path) -> None:
    env = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = "import sys; sys.argv = ['brule', 'demo', '--port', '0', '--samples', 'photos', '--model', "
    command += "'detector.safetensors']; from brule.cli import main; main()"
    listens = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - in a shell's background, too
    process = subprocess.Popen(
        [sys.executable, "-c", command], cwd=models, env=env, stdout=-1, stderr=-1, text=True, preexec_fn=listens
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        told = re.match(r"(http://127\.0\.0\.1:\d+)  \(Ctrl-C ends it\)$", line)
        assert told, line + process.communicate(timeout=60)[1]
        model = json.loads(urllib.request.urlopen(f"{told[1]}/model", timeout=30).read())
        assert model["styles"] and model["samples"] == ["a.png", "b.jpg"]
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (130, "")
    finally:
        process.kill()
