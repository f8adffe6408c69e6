"""From data/raw to arrays: the labels stay with their images, and the shapes give none of them away."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brule.config import Prepare, read
from brule.data import prepared
from brule.data.crop import around, to_units
from brule.data.prepare import prepare
from brule.data.pts import read_pts
from brule.data.sources import fetch
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parent))
import sections

PREPARE = sections.prepare()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def raw(tmp_path: Path, people: Path) -> Path:
    """20 photos, of which the last four are unlabelled."""
    for number in range(16, 20):
        (people / f"face_{number}.pts").unlink()
    fetch(sections.data(source="folder", location=str(people)), 0, tmp_path / "raw")
    return tmp_path / "raw"


def made(raw: Path, options: Prepare = PREPARE, **arguments: Any) -> Path:
    prepare(raw, raw.parent / "crops", options, 0, **arguments)
    return raw.parent / "crops"


def test_arrays_index_and_manifest_agree(raw: Path):
    folder = made(raw)
    manifest = prepared.load_manifest(folder)
    assert manifest["counts"] == {"train": 15, "validation": 2, "test": 3, "labelled": 12, "extra": 0, "shapes": 12}
    assert (manifest["image_size"], manifest["labelled"], manifest["halves"]) == (64, None, False)
    seen = []
    for split in ("train", "validation", "test"):
        part = prepared.load(folder, split, labels=True)
        assert part.images.shape == (manifest["counts"][split], 64, 64, 3)
        assert part.landmarks is not None
        assert part.landmarks.dtype == np.float32
        labelled = ~np.isnan(part.landmarks).any((1, 2))
        np.testing.assert_array_equal(part.index.labelled, labelled)
        assert np.nanmin(part.landmarks) >= 0
        assert np.nanmax(part.landmarks) <= 1
        seen += list(part.index.name)
    assert sorted(seen) == sorted(f"folder/face_{number}.png" for number in range(20))
    assert prepared.load_scheme(folder).names == ("0", "1", "2", "3", "4")


def test_an_image_shows_what_its_landmarks_say(raw: Path):
    """The photo's red and green tell each pixel's place: the crop's must fit its own landmarks."""
    part = prepared.load(made(raw), "train", labels=True)
    assert part.landmarks is not None
    for image, points, name in zip(part.images, part.landmarks, part.index.name, strict=True):
        number = int(Path(name).stem.removeprefix("face_"))
        assert np.median(image[..., 2]) == number
        if number < 16:
            truth = read_pts(raw / f"folder/face_{number}.pts")
            np.testing.assert_allclose(points, to_units(truth, around(truth, 0.737, 0.0385)), atol=1e-6)
            x, y = np.clip(points * 64, 0, 63).astype(int).T
            np.testing.assert_allclose(image[y, x, :2] / 2.0, truth, atol=1.5)


def test_an_unlabelled_image_is_cut_in_the_middle(raw: Path):
    records = json.loads((raw / "manifest.json").read_text())
    for record in records["records"]:
        record["split"] = "train"
    (raw / "manifest.json").write_text(json.dumps(records))
    part = prepared.load(made(raw, sections.prepare(validation=0, test=0)), "train", labels=True)
    image = part.images[list(part.index.name).index("folder/face_17.png")]
    # The largest centred square of 100 by 80: columns 10 to 90.
    np.testing.assert_allclose(image[0, 0, :2], [20, 0], atol=3)
    np.testing.assert_allclose(image[-1, -1, :2], [179, 159], atol=3)


def test_a_record_s_crop_is_used(raw: Path):
    manifest = json.loads((raw / "manifest.json").read_text())
    next(each for each in manifest["records"] if each["image"].endswith("face_18.png"))["crop"] = [30, 30, 20]
    (raw / "manifest.json").write_text(json.dumps(manifest))
    for split in ("train", "validation", "test"):
        part = prepared.load(made(raw), split, labels=False)
        if "folder/face_18.png" in (names := list(part.index.name)):
            image = part.images[names.index("folder/face_18.png")]
            np.testing.assert_allclose(image[[0, -1], [0, -1], :2], [[40, 40], [78, 78]], atol=2)
            return
    raise AssertionError


def test_shapes_are_the_training_part_s_own_in_an_order_that_tells_nothing(raw: Path):
    folder = made(raw)
    own = prepared.load(folder, "train", labels=True).landmarks
    assert own is not None
    own = own[~np.isnan(own).any((1, 2))]
    shapes = prepared.load_shapes(folder)
    assert {shape.tobytes() for shape in shapes} == {shape.tobytes() for shape in own}
    flat = [tuple(shape.ravel()) for shape in shapes]
    assert flat == sorted(flat)


@pytest.mark.parametrize(
    ("mode", "shapes", "listed", "held"),
    [
        ("unsupervised", True, None, 5),
        ("semi-supervised", True, None, 2),  # these may all be used for training
        ("semi-supervised", True, "face_3", 4),  # but not these
        ("unsupervised", False, None, 2),  # the shapes of training are its own
    ],
)
def test_few_labels_go_where_the_run_has_use_for_them(tmp_path: Path, people: Path, mode, shapes, listed, held):
    for number in range(5, 20):
        (people / f"face_{number}.pts").unlink()
    (tmp_path / "s").mkdir()
    shutil.copy(people / "face_1.pts", tmp_path / "s")
    given = str(tmp_path / "s") if shapes else None
    fetch(sections.data(source="folder", location=str(people), shapes=given), 0, tmp_path / "raw")
    if listed:
        (tmp_path / "list.txt").write_text(f"folder/{listed}")
        listed = str(tmp_path / "list.txt")
    folder = made(tmp_path / "raw", sections.prepare(labelled=listed, validation=0.2, test=0.2), mode=mode)
    parts = {split: prepared.load(folder, split, labels=False) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 12, "validation": 4, "test": 4}
    assert sum(parts[split].index.labelled.sum() for split in ("validation", "test")) == held
    assert len(prepared.load_shapes(folder)) == (1 if shapes else 3)


def test_scrambling_the_pairing_leaves_the_shapes_byte_equal(raw: Path):
    """Whoever owns which landmarks: without labels the prepared folder holds the same shapes."""
    options = sections.prepare(validation=0, test=0)
    before = (made(raw, options) / "shapes.npy").read_bytes()
    first, second = raw / "folder/face_0.pts", raw / "folder/face_1.pts"
    texts = first.read_text(), second.read_text()
    first.write_text(texts[1])
    second.write_text(texts[0])
    assert (made(raw, options) / "shapes.npy").read_bytes() == before


def test_the_same_seed_writes_the_same_bytes(raw: Path):
    def content() -> dict[str, bytes]:
        folder = made(raw)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert content() == content()


def test_unpaired_shapes_pass_through_the_same_protocol(tmp_path: Path, people: Path):
    shapes = {"names": ["a_left", "a_right", "b", "c", "d"], "shapes": [[[0, 0], [7, 0], [3, 3], [0, 5], [7, 5]]]}
    (tmp_path / "s.json").write_text(json.dumps(shapes))
    fetch(sections.data(source="folder", location=str(people), shapes=str(tmp_path / "s.json")), 0, tmp_path / "raw")
    folder = made(tmp_path / "raw", normaliser=(0, 1))
    found = prepared.load_shapes(folder)
    assert found.shape == (1, 5, 2)
    assert np.ptp(found[0, :, 0]) == pytest.approx(0.737)
    scheme = prepared.load_scheme(folder)
    assert (scheme.names[0], scheme.flip, scheme.normaliser) == ("a_left", (1, 0, 2, 3, 4), (0, 1))


@pytest.mark.parametrize("use", ["join", "instead"])
def test_extra_images_train_without_their_landmarks(tmp_path: Path, people: Path, photo, use):
    photo(tmp_path / "more" / "x.png", np.array([[20.0, 20.0], [60.0, 20.0], [40.0, 50.0]]), blue=200)
    shutil.copy(people / "face_5.png", tmp_path / "more" / "copy.png")
    extra = {"source": "folder", "location": str(tmp_path / "more"), "use": use}
    fetch(sections.data(source="folder", location=str(people), extra=extra), 0, tmp_path / "raw")
    folder = made(tmp_path / "raw", sections.prepare(validation=0.2, test=0.2))
    part = prepared.load(folder, "train", labels=True)
    assert part.landmarks is not None
    own = 0 if use == "instead" else 12
    extra = part.index.name.str.startswith("extra/")
    assert (~extra).sum() == own
    held = set(prepared.load(folder, "test", labels=False).index.name) | set(
        prepared.load(folder, "validation", labels=False).index.name
    )
    expected = {"extra/folder/x.png"} | ({"extra/folder/copy.png"} if "folder/face_5.png" not in held else set())
    assert set(part.index.name[extra]) == expected
    assert not part.index.labelled[extra].any()
    assert np.isnan(part.landmarks[extra]).all()
    assert len(prepared.load_shapes(folder)) == 12
    corner = part.images[list(part.index.name).index("extra/folder/x.png")]
    assert np.median(corner[..., 2]) == 200
    assert corner[0, 0, 0] > 20  # cut around its landmarks, not in the middle


def test_a_limit_holds_for_every_split(raw: Path):
    folder = made(raw, sections.prepare(limit=2))
    assert [len(prepared.load(folder, split, labels=False)) for split in ("train", "validation", "test")] == [2, 2, 2]
    assert len(prepared.load_shapes(folder)) == 2


@pytest.mark.parametrize("size", [64, 128])
def test_sizes(raw: Path, size):
    assert prepared.load(made(raw, sections.prepare(image_size=size, limit=1)), "test", labels=False).images.shape[
        1:
    ] == (
        size,
        size,
        3,
    )


def spoil(raw: Path, case: str) -> None:
    image, points = raw / "folder/face_2.png", raw / "folder/face_2.pts"
    match case:
        case "corrupt":
            image.write_bytes(image.read_bytes()[:200])
        case "text":
            image.write_text("no image")
        case "missing":
            image.unlink()
        case "count":
            points.write_text("1 1\n2 2\n")
        case "nan":
            points.write_text("1 1\n2 nan\n")
        case "line":
            points.write_text("3 1\n3 2\n3 3\n3 4\n3 5\n")
        case "far":
            points.write_text("9000 9000\n9050 9000\n9000 9050\n9050 9050\n9020 9020\n")
        case "manifest":
            (raw / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("corrupt", r"face_2\.png: cannot be read"),
        ("text", r"face_2\.png: is not a readable image"),
        ("missing", r"face_2\.png: the image is missing"),
        ("count", r"face_2\.pts: has 2 landmarks but the shapes have 5"),
        ("nan", r"face_2\.pts, line 2: '2 nan' is not a landmark"),
        ("line", r"face_2\.pts: the landmarks have no width"),
        ("far", r"face_2\.png: the object lies outside the image"),
        ("manifest", r"manifest\.json: is damaged; run the download stage again"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_the_old_folder(raw: Path, case, sentence):
    folder = made(raw)
    before = (folder / "manifest.json").read_bytes()
    spoil(raw, case)
    with pytest.raises(BruleError, match=sentence) as error:
        made(raw)
    assert "\n" not in str(error.value)
    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in raw.parent.iterdir()) == ["crops", "people", "raw"]


def test_wrong_requests_get_one_sentence(raw: Path):
    with pytest.raises(BruleError, match=r"data\.normaliser: \[36, 45\] must be two different landmarks from 0 to 4"):
        made(raw, normaliser=(36, 45))
    with pytest.raises(BruleError, match=f"^{raw}: no training image is left"):
        made(raw, sections.prepare(validation=0.5, test=1))
    for path in (raw / "folder").glob("*.pts"):
        path.unlink()
    manifest = json.loads((raw / "manifest.json").read_text())
    for record in manifest["records"]:
        record["points"] = None
    (raw / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BruleError, match=rf"^data\.shapes: is empty, and no training image in {raw} has"):
        made(raw)
    manifest["records"] = []
    (raw / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BruleError, match=f"^{raw}: no training image is left"):
        made(raw)


def test_a_damaged_scheme_is_told_of_its_manifest(raw: Path):
    manifest = json.loads((raw / "manifest.json").read_text())
    manifest["scheme"] = {"names": ["a", "a"], "flip": None, "normaliser": None, "edges": []}
    (raw / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BruleError, match=rf"^{raw}/manifest\.json: its landmark scheme is damaged; run the download"):
        made(raw)


def test_a_full_disk_gets_one_sentence(raw: Path, monkeypatch):
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("brule.data.prepare.np.lib.format.write_array_header_1_0", full)
    with pytest.raises(BruleError, match="crops: the disk is full"):
        made(raw)
    assert not (raw.parent / "crops").exists()


def test_a_grey_photo_keeps_company(raw: Path):
    Image.open(raw / "folder/face_1.png").convert("L").save(raw / "folder/face_1.png")
    part = prepared.load(made(raw, sections.prepare(validation=0, test=0)), "train", labels=False)
    image = part.images[list(part.index.name).index("folder/face_1.png")]
    assert (image[..., 0] == image[..., 1]).all()


def test_the_stage_sends_to_the_original_and_to_download(raw: Path, tmp_path: Path):
    """`data/raw` belongs to DVC, which would undo a correction made there."""
    (tmp_path / "data").mkdir()
    raw.rename(tmp_path / "data" / "raw")
    (tmp_path / "data/raw/folder/face_3.png").write_bytes(b"torn")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    called = [sys.executable, str(ROOT / "pipelines" / "prepare.py")]
    told = subprocess.run(called, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True)
    sentence = told.stderr.decode().splitlines()[-1]
    assert told.returncode == 1 and sentence.startswith("data/raw/folder/face_3.png: ")
    assert sentence.endswith(
        "correct the original, in data.location or data.shapes, then run `dvc repro -f download && dvc repro`"
    )


ODD = [("image", "/etc/passwd"), ("points", "../x.pts"), ("split", "half"), ("image", [])]


@pytest.mark.parametrize(("key", "value"), ODD)
def test_a_manifest_that_download_never_wrote_is_named(tmp_path: Path, key: str, value: object) -> None:
    record = {"image": "1.png", "points": None, "group": "1", "split": None, "extra": False, "crop": None, key: value}
    known = {"source": "folder", "licence": "", "scheme": None, "shapes": None, "extra": None}
    (tmp_path / "manifest.json").write_text(json.dumps(known | {"records": [record]}))
    with pytest.raises(
        BruleError, match=r"manifest\.json: (is damaged|names a file outside its folder); run the download"
    ):
        prepare(tmp_path, tmp_path / "crops", read(ROOT / "params.yaml").prepare, 0)
