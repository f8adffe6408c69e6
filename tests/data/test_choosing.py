"""Few labels and disjoint halves in the prepared arrays: no landmark and no photo leaks."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from brule.data import prepared
from brule.data.layouts import Record
from brule.data.prepare import Crop, choose, prepare
from brule.data.pts import read_pts
from brule.data.sources import fetch
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parent))
import sections


@pytest.fixture
def raw(tmp_path: Path, people: Path) -> Path:
    fetch(sections.data(source="folder", location=str(people)), 0, tmp_path / "raw")
    return tmp_path / "raw"


def made(raw: Path, seed: int = 0, **options) -> Path:
    prepare(raw, raw.parent / "crops", sections.prepare(**options), seed)
    return raw.parent / "crops"


def names_of(folder: Path, split: str) -> list[str]:
    return list(prepared.load(folder, split, labels=False).index.name)


def the_list(folder: Path, *numbers: int) -> str:
    (folder / "list.txt").write_text("".join(f"folder/face_{number}\n" for number in numbers))
    return str(folder / "list.txt")


@pytest.mark.parametrize("seed", range(3))
def test_only_the_listed_training_images_keep_their_landmarks(raw: Path, seed):
    free = made(raw, seed)
    held = {split: set(names_of(free, split)) for split in ("validation", "test")}
    shapes = len(prepared.load_shapes(free))
    # One listed image that the draw without a list holds out, and two others.
    taken = int(min(held["validation"]).removeprefix("folder/face_").removesuffix(".png"))
    listed = sorted({taken, (taken + 1) % 20, (taken + 2) % 20})
    folder = made(raw, seed, labelled=the_list(raw.parent, *listed))

    part = prepared.load(folder, "train", labels=True)
    assert part.landmarks is not None
    assert sorted(part.index.name[part.index.labelled]) == sorted(f"folder/face_{number}.png" for number in listed)
    for image, points, name, labelled in zip(
        part.images, part.landmarks, part.index.name, part.index.labelled, strict=True
    ):
        assert np.median(image[..., 2]) == int(name.removeprefix("folder/face_").removesuffix(".png"))
        assert np.isnan(points).all() if not labelled else np.isfinite(points).all()
        if labelled:  # red and green tell each pixel's place in the photo
            x, y = np.clip(points * 64, 0, 63).astype(int).T
            truth = read_pts(raw / name.replace(".png", ".pts"))
            np.testing.assert_allclose(image[y, x, :2] / 2.0, truth, atol=1.5)
    for split, before in held.items():
        own = prepared.load(folder, split, labels=True)
        assert own.landmarks is not None
        assert np.isfinite(own.landmarks).all()
        assert not set(own.index.name) & {f"folder/face_{number}.png" for number in listed}
        assert {name for name in before if name not in set(part.index.name)} <= set(own.index.name)
        assert len(own) == len(before)
    assert len(prepared.load_shapes(folder)) == shapes == len(part)
    manifest = prepared.load_manifest(folder)
    assert (manifest["counts"]["labelled"], manifest["labelled"]) == (3, str(raw.parent / "list.txt"))


def test_the_images_are_cut_as_without_a_list(raw: Path):
    """An unlisted image is still cropped around its landmarks: the protocol is the same for any number of labels."""
    options = {"validation": 0, "test": 0}
    free = (made(raw, **options) / "train/images.npy").read_bytes()
    folder = made(raw, labelled=the_list(raw.parent, 3), **options)
    assert (folder / "train/images.npy").read_bytes() == free


def test_a_limit_keeps_the_listed_images(raw: Path):
    listed = (3, 7, 11)
    folder = made(raw, labelled=the_list(raw.parent, *listed), limit=4)
    part = prepared.load(folder, "train", labels=True)
    assert (len(part), part.index.labelled.sum(), len(prepared.load_shapes(folder))) == (4, 3, 4)
    with pytest.raises(BruleError, match=r"prepare\.limit: 2 is less than the 3 images in .*list\.txt; raise it"):
        made(raw, labelled=the_list(raw.parent, *listed), limit=2)


def own_shapes(raw: Path) -> dict[bytes, str]:
    """The shape of every crop, as `prepare` writes it → the name of its image."""
    everything = raw.parent / "everything"
    prepare(raw, everything, sections.prepare(validation=0, test=0), 0)
    part = prepared.load(everything, "train", labels=True)
    assert part.landmarks is not None
    return {points.tobytes(): name for points, name in zip(part.landmarks, part.index.name, strict=True)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [None, 4])
def test_halves_share_no_photo(raw: Path, seed, limit):
    manifest = json.loads((raw / "manifest.json").read_text())
    for number, record in enumerate(manifest["records"]):
        record["group"] = f"photo {number // 2}"
    (raw / "manifest.json").write_text(json.dumps(manifest))
    group = {record["image"]: record["group"] for record in manifest["records"]}
    whole = made(raw, seed)
    training, held = set(names_of(whole, "train")), [names_of(whole, split) for split in ("validation", "test")]

    folder = made(raw, seed, halves=True, limit=limit)
    owner = own_shapes(raw)
    lenders = {owner[shape.tobytes()] for shape in prepared.load_shapes(folder)}
    shown = set(names_of(folder, "train"))
    assert not {group[name] for name in lenders} & {group[name] for name in shown}
    assert lenders | shown <= training
    counts = prepared.load_manifest(folder)["counts"]
    assert (counts["train"], counts["shapes"]) == (len(shown), len(lenders))
    if limit:
        assert (len(lenders), len(shown)) == (4, 4)
    else:
        assert lenders | shown == training
        assert abs(len(lenders) - len(shown)) <= 2
        assert [names_of(folder, split) for split in ("validation", "test")] == held
    assert prepared.load_manifest(folder)["halves"] is True


def test_the_listed_images_are_in_the_half_of_the_images(raw: Path):
    listed = (2, 3, 5, 8, 13)
    folder = made(raw, labelled=the_list(raw.parent, *listed), halves=True)
    part = prepared.load(folder, "train", labels=True)
    assert set(part.index.name[part.index.labelled]) == {f"folder/face_{number}.png" for number in listed}
    assert abs(len(part) - len(prepared.load_shapes(folder))) <= 1
    with pytest.raises(BruleError, match=r"prepare\.labelled names every photo, so none is left to lend its shape"):
        made(raw, labelled=the_list(raw.parent, *range(20)), halves=True)


def crop(name: str, group: str, extra: bool = False, landmarks: bool = True) -> Crop:
    points = np.zeros((5, 2)) if landmarks and not extra else None
    return Crop(Record(name, f"{name}.pts", group, None, extra, None), group, "train", None, points)


def test_images_that_have_no_shape_to_lend_are_shown_unless_their_photo_lends():
    everyone = [crop(f"{i}", f"g{i}") for i in range(10)] + [crop(f"u{i}", f"u{i}", landmarks=False) for i in range(3)]
    everyone += [crop(f"x{i}", f"g{i}", extra=True) for i in range(10)] + [crop("y", "y", extra=True)]
    kept, lenders = choose(everyone, sections.prepare(halves=True), 0, False, ())
    assert len(lenders) == 5
    lent, shown = ({each.group for each in part} for part in (lenders, kept))
    assert not lent & shown
    assert {"u0", "u1", "u2", "y"} <= shown
    assert sum(each.record.extra for each in kept) == 6
    assert sum(each.landmarks is not None for each in kept) == 5


def test_halves_of_nothing_get_one_sentence(tmp_path: Path, people: Path):
    with pytest.raises(
        BruleError, match=r"prepare\.halves: needs at least two training photos with landmarks and found 1;"
    ):
        choose([crop("a", "g"), crop("b", "g")], sections.prepare(halves=True), 0, False, ())
    (tmp_path / "s").mkdir()
    shutil.copy(people / "face_1.pts", tmp_path / "s")
    data = sections.data(source="folder", location=str(people), shapes=str(tmp_path / "s"))
    fetch(data, 0, tmp_path / "given")
    with pytest.raises(BruleError, match=r"prepare\.halves: data\.shapes is given, so .*; remove it"):
        made(tmp_path / "given", halves=True)


def test_images_instead_of_the_source_s_leave_nothing_to_list_or_to_halve(tmp_path: Path, people: Path, photo):
    photo(tmp_path / "more" / "x.png", blue=200)
    extra = {"source": "folder", "location": str(tmp_path / "more"), "use": "instead"}
    fetch(sections.data(source="folder", location=str(people), extra=extra), 0, tmp_path / "raw")
    with pytest.raises(BruleError, match=r"prepare\.halves: data\.extra\.use is instead"):
        made(tmp_path / "raw", halves=True)
    with pytest.raises(BruleError, match=r"prepare\.labelled: data\.extra\.use is instead"):
        made(tmp_path / "raw", labelled=the_list(tmp_path, 1))
