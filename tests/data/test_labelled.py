"""A list names images, and every wrong name gets one sentence."""

from pathlib import Path

import pytest

from brule.data.layouts import Record
from brule.data.splits import listed, read_names
from brule.errors import BruleError

LABELS = Path(__file__).parents[2] / "experiments" / "labels"


def record(image: str, points: bool = True, split: str | None = "train", extra: bool = False) -> Record:
    return Record(image, f"{image}.pts" if points else None, image, split, extra, None)


RECORDS = [
    *(record("300w/afw/1_1.jpg"), record("300w/lfpw/1_1.png"), record("300w/ibug/9.jpg", split="test")),
    *(record("folder/a.b.png", split=None), record("folder/both.png"), record("folder/both.jpg")),
    *(record("folder/bare.png", points=False), record("extra/folder/x.png", extra=True)),
]


def written(folder: Path, text: str) -> Path:
    (folder / "list.txt").write_bytes(text.encode())
    return folder / "list.txt"


def test_a_name_is_found_with_its_suffix_and_without(tmp_path: Path):
    path = written(tmp_path, "\ufeff# three\r\n\r\n300w/afw/1_1\r\n  300w/lfpw/1_1.png \nfolder/a.b\nfolder/both.jpg")
    assert read_names(path) == ["300w/afw/1_1", "300w/lfpw/1_1.png", "folder/a.b", "folder/both.jpg"]
    assert listed(path, RECORDS) == {"300w/afw/1_1.jpg", "300w/lfpw/1_1.png", "folder/a.b.png", "folder/both.jpg"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# nothing\n\n", r"list\.txt: names no image"),
        ("folder/a\nfolder/b\nfolder/a\n", r"list\.txt, line 3: folder/a is already on line 1"),
        ("300w/afw/1_1\n300w/afw/1_1.jpg", r"list\.txt: names 300w/afw/1_1\.jpg twice"),
        ("300w/afw/2_1", r"list\.txt: 300w/afw/2_1 is not among the images .*complete the data set"),
        ("1_1", r"list\.txt: 1_1 is not among the images \(300w/afw/1_1\.jpg is\); write its folder too"),
        ("folder/both", r"list\.txt: folder/both is the name of 2 images; add the suffix"),
        ("300w/ibug/9", r"list\.txt: 300w/ibug/9 is a test image"),
        ("folder/bare", r"list\.txt: folder/bare has no landmarks"),
        ("extra/folder/x", r"list\.txt: extra/folder/x has no landmarks for training"),
    ],
)
def test_a_wrong_list_gets_one_sentence(tmp_path: Path, text, sentence):
    with pytest.raises(BruleError, match=sentence) as error:
        listed(written(tmp_path, text), RECORDS)
    assert "\n" not in str(error.value)


def test_what_is_not_a_text_file_gets_one_sentence(tmp_path: Path):
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff\x00")
    for path in (tmp_path, tmp_path / "picture"):
        with pytest.raises(BruleError, match=f"{path.name}: is not a readable text file; set prepare.labelled"):
            read_names(path)
    with pytest.raises(BruleError, match=r"none\.txt: does not exist; set prepare\.labelled"):
        read_names(tmp_path / "none.txt")


@pytest.mark.parametrize("draw", "abc")
def test_the_committed_lists_are_nested_and_name_each_photo_once(draw):
    ten, fifty, all_of_them = (read_names(LABELS / f"300w-{count}-{draw}.txt") for count in (10, 50, 157))
    assert (len(ten), len(fifty), len(all_of_them)) == (10, 50, 157)
    assert set(ten) < set(fifty) < set(all_of_them)
    for name in all_of_them:
        folder, _, face = name.rpartition("/")
        assert folder in {"300w/afw", "300w/helen/trainset", "300w/lfpw/trainset"}
        assert "." not in face
    photos = {name if "/lfpw/" in name else name.rpartition("_")[0] for name in all_of_them}
    assert len(photos) == 157


def test_the_draws_differ():
    lists = [frozenset(read_names(LABELS / f"300w-10-{draw}.txt")) for draw in "abc"]
    assert len(set(lists)) == 3
