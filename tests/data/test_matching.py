"""`data.labels`: each label finds its image, becomes its .pts and brings the scheme, and doubts get a sentence."""

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from brule.data.forms import own_json
from brule.data.labels import Labels
from brule.data.matching import agree
from brule.data.pts import read_pts
from brule.data.schemes import Scheme
from brule.data.sources import fetch
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parent))
import sections

CORNERS = np.array([[10.0, 10.0], [40.0, 10.0], [25.0, 40.0]])
NAMES = ("left", "right", "tip")


@pytest.fixture
def pictures(tmp_path: Path, photo) -> Path:
    """Four images of 100 by 80; two share a file name."""
    for number, name in enumerate(["a.png", "one/b.png", "two/b.png", "two/c.jpg"]):
        photo(tmp_path / "pictures" / name, blue=number)
    return tmp_path / "pictures"


def coco(path: Path, names: list[str], size: tuple[int, int] = (100, 80), landmarks: tuple[str, ...] = NAMES) -> Path:
    images = [{"id": k, "file_name": name, "width": size[0], "height": size[1]} for k, name in enumerate(names)]
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "keypoints": [v for x, y in CORNERS + k for v in (x, y, 2)]}
        for k in range(len(names))
    ]
    category = {"id": 1, "name": "it", "keypoints": list(landmarks), "skeleton": [[1, 3]]}
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [category]}))
    return path


def fetched(tmp_path: Path, **keys: Any) -> dict[str, Any]:
    fetch(sections.data(source="folder", location=str(tmp_path / "pictures"), **keys), 0, tmp_path / "raw")
    return json.loads((tmp_path / "raw" / "manifest.json").read_text())


def test_labels_become_the_pts_of_their_images_and_bring_their_scheme(tmp_path: Path, pictures: Path):
    names = ["images/a.png", "two/b.png", "C:\\photos\\c.jpg"]
    manifest = fetched(tmp_path, labels=str(coco(tmp_path / "l.json", names)))
    points = {record["image"]: record["points"] for record in manifest["records"]}
    assert points == {
        "folder/a.png": "folder/a.pts",
        "folder/one/b.png": None,
        "folder/two/b.png": "folder/two/b.pts",
        "folder/two/c.jpg": "folder/two/c.pts",
    }
    for k, name in enumerate(["a", "two/b", "two/c"]):
        np.testing.assert_allclose(read_pts(tmp_path / "raw" / "folder" / f"{name}.pts"), CORNERS + k)
    assert Scheme.from_json(manifest["scheme"]) == Scheme(NAMES, (1, 0, 2), None, ((0, 2),))
    assert (manifest["counts"]["labelled"], manifest["labels"]) == (3, str(tmp_path / "l.json"))
    assert not [path for path in pictures.rglob("*") if path.suffix == ".pts"]


def test_without_labels_the_manifest_is_as_it_was(tmp_path: Path, pictures: Path):
    assert "labels" not in fetched(tmp_path)


def test_the_digest_follows_the_labels(tmp_path: Path, pictures: Path):
    digests = {fetched(tmp_path)["sha256"]}
    for names in (["a.png"], ["c.jpg"]):
        digests.add(fetched(tmp_path, labels=str(coco(tmp_path / "l.json", names)))["sha256"])
    assert len(digests) == 3


def test_tps_is_turned_over_by_the_height_of_the_image_it_belongs_to(tmp_path: Path, pictures: Path):
    lines = [f"{x + 0.5} {80 - y - 0.5}" for x, y in CORNERS]
    (tmp_path / "l.tps").write_text("\n".join(["LM=3", *lines, "IMAGE=a.png", "ID=0"]))
    fetched(tmp_path, labels=str(tmp_path / "l.tps"))
    np.testing.assert_allclose(read_pts(tmp_path / "raw/folder/a.pts"), CORNERS)


def test_an_image_turned_by_its_exif_is_matched_as_it_is_displayed(tmp_path: Path, pictures: Path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (100, 80)).save(pictures / "turned.jpg", exif=exif)
    labels = str(coco(tmp_path / "l.json", ["turned.jpg"], (80, 100)))
    assert fetched(tmp_path, labels=labels)["counts"]["labelled"] == 1


def test_names_that_a_server_or_another_system_spelt_anew_are_found(tmp_path: Path, pictures: Path, photo):
    photo(pictures / unicodedata.normalize("NFD", "Käfer 1 (größe).jpg"), blue=9)
    for name in (unicodedata.normalize("NFC", "Käfer 1 (größe).jpg"), "Käfer_1_größe.jpg"):
        manifest = fetched(tmp_path, labels=str(coco(tmp_path / "l.json", [name])))
        assert manifest["counts"]["labelled"] == 1
    photo(pictures / "Käfer 1 größe.jpg", blue=10)
    with pytest.raises(BruleError, match=r"Käfer_1_größe\.jpg may be "):
        fetched(tmp_path, labels=str(coco(tmp_path / "l.json", ["Käfer_1_größe.jpg"])))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a.png", "x.png", "y.png"], "2 of its images are not in data.location, such as x.png; add them"),
        (["b.png"], "b.png may be one/b.png or two/b.png; write the folder too"),
        (["a.png", "a.png"], "a.png has 2 objects, but training takes one an image"),
        (["a.png", "old/a.png"], "a.png and old/a.png would both be a.png of data.location"),
    ],
)
def test_a_label_that_finds_no_single_image_is_told(tmp_path: Path, pictures: Path, names, sentence):
    with pytest.raises(BruleError, match=rf"l\.json: {sentence}"):
        fetched(tmp_path, labels=str(coco(tmp_path / "l.json", names)))
    assert not (tmp_path / "raw").exists()


def test_labels_that_contradict_the_images_are_told(tmp_path: Path, pictures: Path):
    with pytest.raises(BruleError, match=r"l\.json: a\.png was labelled at 50x40 pixels, but .* has 100x80"):
        fetched(tmp_path, labels=str(coco(tmp_path / "l.json", ["a.png"], (50, 40))))
    labels = str(coco(tmp_path / "l.json", ["a.png"]))
    (pictures / "a.pts").write_text("1 1\n2 2\n3 4\n")
    with pytest.raises(BruleError, match=r"a\.png has landmarks here and in a\.pts beside it; remove one"):
        fetched(tmp_path, labels=labels)
    (pictures / "a.pts").unlink()
    (pictures / "a.jpg").write_bytes((pictures / "two/c.jpg").read_bytes())
    with pytest.raises(BruleError, match=r"a\.png and a\.jpg would have the same \.pts; rename one"):
        fetched(tmp_path, labels=str(coco(tmp_path / "l.json", ["a.png", "a.jpg"])))
    (tmp_path / "s.csv").write_text("x0,y0,x1,y1\n1,2,3,4\n")
    with pytest.raises(BruleError, match=r"s\.csv: names no images, so its landmarks are shapes; set data\.shapes"):
        fetched(tmp_path, labels=str(tmp_path / "s.csv"))
    with pytest.raises(BruleError, match=r"none\.json: does not exist; set data\.labels to"):
        fetched(tmp_path, labels=str(tmp_path / "none.json"))
    with pytest.raises(ValidationError, match=r"data\.labels is set but data\.source is 'synthetic'"):
        sections.data(labels=labels)


def test_shapes_take_the_order_of_the_labels(tmp_path: Path, pictures: Path):
    shapes = Labels(CORNERS[None, [2, 0, 1]], Scheme(("tip", "left", "right"), (0, 2, 1), (1, 2), ((1, 2),)))
    (tmp_path / "s.json").write_text(json.dumps(own_json.mapping(shapes)))
    labels = coco(tmp_path / "l.json", ["a.png"])
    manifest = fetched(tmp_path, labels=str(labels), shapes=str(tmp_path / "s.json"))
    written = json.loads((tmp_path / "raw" / "shapes.json").read_text())
    assert (written["names"], written["shapes"]) == (list(NAMES), [CORNERS.tolist()])
    assert Scheme.from_json(manifest["scheme"]) == Scheme(NAMES, (1, 0, 2), (0, 1), ((0, 2),))


def test_labels_and_shapes_of_other_landmarks_are_told():
    labels = Labels(CORNERS[None], Scheme.plain(NAMES))
    with pytest.raises(BruleError, match=r"data\.labels: has 3 landmarks but data\.shapes has 2"):
        agree(labels, Labels(CORNERS[None, :2]))
    with pytest.raises(BruleError, match=r"has the landmark 'tip', which data\.shapes does not have \(it has top\)"):
        agree(labels, Labels(CORNERS[None], Scheme.plain(["left", "right", "top"])))
    assert agree(labels, Labels(CORNERS[None]))[1].scheme == labels.scheme
    assert agree(Labels(CORNERS[None]), labels)[0].scheme == labels.scheme
