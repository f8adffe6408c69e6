"""Every source leaves the same form: images, .pts, a manifest."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brule.config import Data
from brule.data.download import digest
from brule.data.pts import read_pts
from brule.data.sources import SOURCES, fetch
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parent))
import sections

FACE = np.array([[10.0, 10.0], [40.0, 10.0], [25.0, 40.0]])


def fetched(data: Data, tmp_path: Path) -> dict[str, Any]:
    raw = tmp_path / "data" / "raw"
    fetch(data, 0, raw)
    assert not [path for path in raw.rglob("*") if path.name.startswith(".")]
    manifest = json.loads((raw / "manifest.json").read_text())
    for record in manifest["records"]:
        Image.open(raw / record["image"]).verify()
        assert record["points"] is None or (raw / record["points"]).exists()
    return manifest


def test_a_folder_is_copied_and_left_alone(tmp_path: Path, people: Path):
    (people / "face_3.pts").unlink()
    before = sorted(path.name for path in people.iterdir())
    manifest = fetched(sections.data(source="folder", location=str(people)), tmp_path)
    assert sorted(path.name for path in people.iterdir()) == before
    assert manifest["counts"] == {"images": 20, "labelled": 19, "train": 0, "validation": 0, "test": 0, "extra": 0}
    assert (manifest["source"], manifest["licence"]) == ("folder", "the user's own")
    record = next(record for record in manifest["records"] if record["image"] == "folder/face_3.png")
    assert record == {
        "image": "folder/face_3.png",
        "points": None,
        "group": "folder/face_3.png",
        "split": None,
        "extra": False,
        "crop": None,
    }


def test_the_digest_follows_the_folder_s_content(tmp_path: Path, people: Path):
    data = sections.data(source="folder", location=str(people))
    first = fetched(data, tmp_path)["sha256"]
    assert first == fetched(data, tmp_path)["sha256"]
    (people / "face_0.pts").write_text("1 1\n2 2\n3 4\n5 6\n7 9\n")
    assert first != fetched(data, tmp_path)["sha256"]


def test_300w_from_a_zip_of_zips(tmp_path: Path, photo):
    photo(tmp_path / "x" / "trainset" / "1_1.jpg", FACE)
    photo(tmp_path / "x" / "testset" / "2_1.jpg", FACE + 1)
    archive, outer = tmp_path / "helen.zip", tmp_path / "300w.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (tmp_path / "x").rglob("*.*"):
            packed.write(path, path.relative_to(tmp_path / "x"))
    with zipfile.ZipFile(outer, "w") as packed:
        packed.write(archive, "helen.zip")
    for location in (archive, outer):
        manifest = fetched(sections.data(source="300w", location=str(location), sha256=digest(location)), tmp_path)
        assert [(record["image"], record["split"]) for record in manifest["records"]] == [
            ("300w/helen/testset/2_1.jpg", "test"),
            ("300w/helen/trainset/1_1.jpg", "train"),
        ]
        assert manifest["sha256"] == digest(location)
        assert manifest["scheme"]["normaliser"] == [36, 45]


def test_extra_images_come_beside_and_never_from_a_test_part(tmp_path: Path, people: Path, photo):
    photo(tmp_path / "w" / "afw" / "1_1.jpg", FACE)
    photo(tmp_path / "w" / "ibug" / "2_1.jpg", FACE)
    extra = {"source": "300w", "location": str(tmp_path / "w"), "use": "instead"}
    manifest = fetched(sections.data(source="folder", location=str(people), extra=extra), tmp_path)
    records = [record for record in manifest["records"] if record["extra"]]
    assert [(record["image"], record["split"]) for record in records] == [("extra/300w/afw/1_1.jpg", "train")]
    assert manifest["counts"]["extra"] == 1
    assert manifest["extra"]["use"] == "instead"
    assert manifest["extra"]["licence"] == SOURCES["300w"].licence


def test_unpaired_shapes_take_one_form(tmp_path: Path, people: Path):
    (tmp_path / "s.csv").write_text("tip_x,tip_y,tail_x,tail_y\n0,0,3,4\n1,1,5,6\n")
    for own in people.glob("*.pts"):
        own.unlink()
    manifest = fetched(sections.data(source="folder", location=str(people), shapes=str(tmp_path / "s.csv")), tmp_path)
    shapes = json.loads((tmp_path / "data" / "raw" / manifest["shapes"]).read_text())
    assert shapes["names"] == ["tip", "tail"]
    assert shapes["shapes"] == [[[0, 0], [3, 4]], [[1, 1], [5, 6]]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("folder", r"it must hold images"),
        ("300w", r"iBUG facial point annotations page"),
        ("celeba", r"CelebA project page"),
    ],
)
def test_a_location_with_nothing_of_it(tmp_path: Path, source, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BruleError, match=rf"empty: holds no {source} data; .*{words}"):
        fetched(sections.data(source=source, location=str(tmp_path / "empty")), tmp_path)


def test_a_failure_leaves_the_old_data(tmp_path: Path, people: Path):
    fetched(sections.data(source="folder", location=str(people)), tmp_path)
    for wrong in (
        sections.data(source="folder", location=str(tmp_path / "none")),
        sections.data(source="celeba", location=str(people)),
    ):
        with pytest.raises(BruleError):
            fetch(wrong, 0, tmp_path / "data" / "raw")
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]
        assert len(list((tmp_path / "data" / "raw" / "folder").glob("*.png"))) == 20


def test_rendered_faces(tmp_path: Path):
    data = sections.data()
    manifest = fetched(data, tmp_path)
    assert manifest["counts"] == {"images": 6, "labelled": 6, "train": 3, "validation": 1, "test": 2, "extra": 0}
    assert manifest["sha256"] == fetched(data, tmp_path)["sha256"]
    raw = tmp_path / "data" / "raw"
    points = [read_pts(raw / record["points"]) for record in manifest["records"]]
    assert {shape.shape for shape in points} == {(68, 2)}
    assert len({shape.tobytes() for shape in points}) == 6
    more = fetched(sections.data(synthetic={"train": 5, "validation": 1, "test": 2, "size": 64}), tmp_path)
    last = more["records"][-1]
    np.testing.assert_array_equal(read_pts(raw / last["points"]), points[-1])
