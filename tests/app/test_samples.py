"""Where the samples come from: the user's folder, the test split, the renderer, or nowhere."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brule.app import samples
from brule.app.page import Page
from brule.app.samples import offered
from brule.data.crop import around, to_units
from brule.data.pts import format_pts
from brule.data.schemes import IBUG68, Scheme
from brule.detector.model import Detector
from brule.errors import BruleError


@pytest.fixture
def of_faces(page: Page) -> Detector:
    return replace(page.detector, scheme=IBUG68)


def test_a_folder_of_the_user_s_own(page: Page, models: Path, tmp_path: Path) -> None:
    found = offered(page.detector, models / "photos")
    assert [(one.name, one.data) for one in found] == [
        (name, (models / "photos" / name).read_bytes()) for name in ("a.png", "b.jpg")
    ]
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "\udcff.png").write_bytes(found[0].data)
    assert [one.name for one in offered(page.detector, odd)] == ["\ufffd.png"], "which JSON can hold"
    with pytest.raises(BruleError, match=r"there are no photos in this folder; give --samples a folder"):
        offered(page.detector, tmp_path)
    (tmp_path / "bad.jpg").write_bytes(b"none")
    with pytest.raises(BruleError, match=r"bad\.jpg: is not a readable image"):
        offered(page.detector, tmp_path)


def test_without_data_a_detector_of_faces_gets_rendered_ones(
    page: Page, of_faces: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(samples, "COUNT", 2)
    found = offered(of_faces, None)
    assert [one.name for one in found] == ["rendered-1.jpg", "rendered-2.jpg"]
    assert {Image.open(io.BytesIO(one.data)).size for one in found} == {(384, 384)}
    assert offered(page.detector, None) == []


def prepared(folder: Path, scheme: Scheme, source: str) -> np.ndarray:
    """data/raw and data/crops of three photos, white but for a dark box of landmarks; returns the landmarks."""
    points = np.random.default_rng(0).uniform((60, 40), (120, 100), (len(scheme.names), 2))
    raw, test = folder / "data" / "raw", folder / "data" / "crops" / "test"
    for place in (raw / "set", test):
        place.mkdir(parents=True)
    names = [f"set/{k}.png" for k in range(3)]
    for name in names:
        picture = Image.new("RGB", (200, 150), "white")
        picture.paste("black", (60, 40, 120, 100))
        picture.save(raw / name)
        (raw / name).with_suffix(".pts").write_text(format_pts(points))
    records = [{"image": name, "points": f"{name[:-4]}.pts", "crop": None} for name in names]
    (raw / "manifest.json").write_text(json.dumps({"source": source, "records": records}))
    np.save(test / "images.npy", np.zeros((3, 64, 64, 3), np.uint8))
    rows = [f"{name},set,{name},1,1" for name in names]
    (test / "index.csv").write_text("\n".join(["name,source,group,labelled,framed", *rows]))
    (folder / "data" / "crops" / "manifest.json").write_text(json.dumps({"scheme": scheme.to_json()}))
    return points


def test_the_test_split_is_offered_as_it_was_cut(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    points = prepared(tmp_path, page.detector.scheme, "set")
    found = offered(page.detector, None)
    assert [one.name for one in found] == ["0.jpg", "1.jpg", "2.jpg"]
    grey = np.asarray(Image.open(io.BytesIO(found[0].data)).convert("L"))
    assert grey.shape == (384, 384)
    corners = np.array([[60.0, 40.0], [119.0, 99.0]])
    (left, top), (right, bottom) = 384 * to_units(corners, around(points, *page.detector.framing))
    dark = np.argwhere(grey < 128)
    np.testing.assert_allclose(dark.min(0), (max(top, 0), max(left, 0)), atol=6)
    np.testing.assert_allclose(dark.max(0), (min(bottom, 383), min(right, 383)), atol=6)


@pytest.mark.parametrize("source, scheme", [("synthetic", None), ("set", Scheme.plain("abcd"))])
def test_rendered_photos_and_those_of_another_model_are_not(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, scheme: Scheme | None
) -> None:
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path, scheme or page.detector.scheme, source)
    assert offered(page.detector, None) == []
