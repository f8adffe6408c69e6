"""Each data set's layout is found wherever it lies, whole or in part."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brule.data.crop import Square
from brule.data.layouts import celeba_crop, scan_300w, scan_celeba, scan_folder
from brule.errors import BruleError

FACE = np.array([[10.0, 10.0], [40.0, 40.0]])


@pytest.mark.parametrize("top", [".", "300w", "deep/er"])
def test_300w_below_any_folder(tmp_path: Path, photo, capsys, top: str):
    root = tmp_path / top
    for name in ("afw/1_1.jpg", "Helen/trainset/2_1.png", "lfpw/testset/image_0003.png", "ibug/image_004_1.jpg"):
        photo(root / name, FACE)
    photo(root / "afw" / "without.jpg")
    photo(root / "afw" / "1_1_mirror.jpg", FACE)
    photo(root / "cofw" / "5.jpg", FACE)
    photo(root / "__MACOSX" / "afw" / "1_1.jpg", FACE)
    found = {each.name: each for each in scan_300w([tmp_path])}
    assert {name: each.split for name, each in found.items()} == {
        "afw/1_1.jpg": "train",
        "helen/trainset/2_1.png": "train",
        "lfpw/testset/image_0003.png": "test",
        "ibug/image_004_1.jpg": "test",
    }
    assert found["afw/1_1.jpg"].group == "afw/1"
    assert found["lfpw/testset/image_0003.png"].group == "lfpw/testset/image_0003"
    assert all(each.points and each.points.exists() for each in found.values())
    assert "afw 1 of 337" in (said := capsys.readouterr().out)
    assert "helen/testset 0 of 330" in said


def test_300w_by_the_location_s_own_name(tmp_path: Path, photo):
    photo(tmp_path / "helen" / "testset" / "1.jpg", FACE)
    assert [each.name for each in scan_300w([tmp_path / "helen"])] == ["helen/testset/1.jpg"]


def test_a_folder_of_the_user(tmp_path: Path, photo):
    photo(tmp_path / "a_1.JPG")
    photo(tmp_path / "sub" / "a_2.png", FACE)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "lonely.pts").write_text("1 2\n")
    found = scan_folder([tmp_path])
    assert [(each.name, each.points is not None, each.split) for each in found] == [
        ("a_1.JPG", False, None),
        ("sub/a_2.png", True, None),
    ]
    assert len({each.group for each in found}) == 2


@pytest.mark.parametrize(("size", "scale"), [((178, 218), 1), ((89, 109), 0.5), ((356, 436), 2)])
def test_celeba_s_crop_scales_with_the_image(tmp_path: Path, size, scale):
    Image.new("RGB", size).save(tmp_path / "000001.jpg")
    expected = (88.6 * scale, 135 * scale, 123.2 * scale)
    assert celeba_crop(tmp_path / "000001.jpg") == pytest.approx(expected)
    found = scan_celeba([tmp_path])
    assert [(each.name, each.points, each.crop) for each in found] == [("000001.jpg", None, Square(*expected))]


def test_what_is_not_celeba_is_named(tmp_path: Path):
    Image.new("RGB", (200, 200)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("no image")
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(BruleError, match=name):
            celeba_crop(tmp_path / name)
