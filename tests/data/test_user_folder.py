"""What is wrong in a user's folder is told of the user's own files, all at once, before anything is copied."""

import errno
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brule.data import sources
from brule.data.prepare import prepare
from brule.data.prepared import load
from brule.data.sources import fetch
from brule.errors import LONGEST, BruleError

sys.path.insert(0, str(Path(__file__).parent))
import sections


def refused(tmp_path: Path, location: Path | str, **keys: str) -> str:
    """The sentence. Nothing was copied, and nothing is left behind."""
    with pytest.raises(BruleError) as caught:
        fetch(sections.data(source="folder", location=str(location), **keys), 0, tmp_path / "data" / "raw")
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def spoil(people: Path) -> None:
    (people / "face_0.png").write_bytes((people / "face_0.png").read_bytes()[:100])
    (people / "face_1.png").write_text("no image")
    (people / "face_2.pts").write_text("1 1\n2 nan\n")
    (people / "face_3.pts").write_text("1 1\n2 2\n")
    (people / "face_4.pts").write_text("3 1\n3 2\n3 3\n3 4\n3 5\n")
    (people / "face_5.pts").write_text("9000 9000\n9050 9000\n9000 9050\n9050 9050\n9020 9020\n")


def test_all_faults_are_told_at_once_and_of_the_user_s_files(tmp_path: Path, people: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "_bring", lambda *_: pytest.fail("something was copied"))
    spoil(people)
    told = refused(tmp_path, people)
    assert told.startswith(f"6 faults in {people}: (1) ") and "data/raw" not in told
    for words in ("face_0.png: cannot be read (", "face_1.png: is not a readable", "face_2.pts, line 2: '2 nan' is"):
        assert f") {words}" in told
    for name in ("face_0.png", "face_1.png", "face_2.pts"):
        (people / name).unlink()
    told = refused(tmp_path, people)
    assert told.startswith(f"3 faults in {people}: (1) ")
    for words in (
        "face_3.pts: has 2 landmarks, most have 5",
        "face_4.pts: the landmarks have no width",
        "face_5.pts: none of its landmarks lies in the image, which has 100x80 pixels",
    ):
        assert f") {words}" in told


def test_landmarks_that_are_not_those_of_the_shapes_are_told_before_anything_is_copied(
    tmp_path: Path, people: Path
) -> None:
    (tmp_path / "shapes.csv").write_text("x0,y0,x1,y1,x2,y2\n1,2,3,4,6,5\n")
    told = refused(tmp_path, people, shapes=str(tmp_path / "shapes.csv"))
    assert told.startswith(
        f"20 faults in {people}: (1) face_0.pts: has 5 landmarks, data.shapes has 3; make them agree"
    )


def test_many_faults_are_counted(tmp_path: Path, people: Path) -> None:
    for path in people.glob("*.png"):
        path.write_text("no image")
    told = refused(tmp_path, people)
    named = told.count(": is not a readable image; replace or remove the file")
    assert told.startswith(f"20 faults in {people}: (1) face_0.png: is not ")
    assert told.endswith(f"; and {20 - named} more") and 2 <= named < 10 and len(told) <= LONGEST


def test_faults_in_several_folders_are_told_of_the_folder_above(tmp_path: Path, people: Path) -> None:
    (people / "more").mkdir()
    for name in ("face_0.png", "more/a\nb.png", "more/c.png"):
        (people / name).write_text("no image")
    told = refused(tmp_path, people)
    assert told.startswith(f"3 faults in {people}: (1) face_0.png: is not ")
    assert r"(2) more/a\nb.png: is not " in told and "(3) more/c.png: is not " in told


def test_faults_with_long_names_are_told_as_far_as_there_is_room(tmp_path: Path, people: Path) -> None:
    for letter in "ab":
        (people / f"{letter * 240}.png").write_text("no image")
    told = refused(tmp_path, people)
    assert told.startswith(f"2 faults in {people}: (1) aaa") and told.endswith("; and 1 more") and len(told) <= LONGEST


def test_a_fault_in_an_archive_is_told_of_the_archive(tmp_path: Path, people: Path) -> None:
    spoil(people)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as packed:
        for path in people.iterdir():
            packed.write(path, f"top/{path.name}")
    told = refused(tmp_path, tmp_path / "all.zip")
    assert told.startswith(f"6 faults in {tmp_path}/all.zip: top: (1) face_0.png: cannot be read ")
    assert "; (2) face_1.png: is not a readable image; " in told


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path, people: Path) -> None:
    shutil.copy(people / "face_0.png", os.fsencode(people) + b"/a\xff.png")
    assert refused(tmp_path, people) == (
        f"{people}/a\ufffd.png: its name is not UTF-8, so no list can hold it; rename the file"
    )


@pytest.mark.parametrize("location", ["http://[::1", "http://host:port/a.zip"])
def test_what_is_no_address(tmp_path: Path, location: str) -> None:
    assert "is not a valid address; set data.location to another" in refused(tmp_path, location)


def test_what_is_passed_over_is_told(tmp_path: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.heic", "b.GIF", "c.gif", ".hidden.png"):
        (people / name).write_bytes(b"")
    fetch(sections.data(source="folder", location=str(people)), 0, tmp_path / "raw")
    said = capsys.readouterr().out
    assert said == f"{people}: passed over 1 hidden, 1 HEIC, 2 GIF; convert what you need to JPEG or PNG.\n"


def failing(name: str, number: int, wrong: Callable[[Path], bool], patch: pytest.MonkeyPatch) -> None:
    """The system refuses this call for some paths, as it does to whoever is not root."""
    module: Any = os if name in ("scandir", "replace", "mkdir") else shutil
    whole = getattr(module, name)

    def call(*given: Any, **keys: Any) -> Any:
        if not isinstance(given[0], int) and wrong(Path(os.fsdecode(given[0]))):
            raise OSError(number, os.strerror(number), os.fspath(given[0]))
        return whole(*given, **keys)

    patch.setattr(module, name, call)


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, people: Path, monkeypatch) -> None:
    (people / "closed").mkdir()
    failing("scandir", errno.EACCES, lambda path: path.name == "closed", monkeypatch)
    told = refused(tmp_path, people)
    assert told == f"{people}/closed: the folder cannot be read (permission denied); change its permissions"


def test_a_photo_that_cannot_be_copied_is_named(tmp_path: Path, people: Path, monkeypatch) -> None:
    failing("copyfile", errno.EACCES, lambda path: path.name == "face_7.pts", monkeypatch)
    told = refused(tmp_path, people)
    assert told == f"{people}/face_7.pts: no permission to read it; change its permissions"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the filesystem is read-only"),
    ],
)
def test_a_place_that_takes_no_more_is_named(
    tmp_path: Path, people: Path, monkeypatch, number: int, words: str
) -> None:
    failing("copyfile", number, lambda path: path.name == "face_7.png", monkeypatch)
    assert refused(tmp_path, people).startswith(f"{tmp_path}/data/raw: {words}")


def test_a_place_that_may_not_be_written(tmp_path: Path, people: Path, monkeypatch) -> None:
    failing("mkdir", errno.EACCES, lambda path: path.name == ".raw.tmp", monkeypatch)
    assert refused(tmp_path, people).startswith(f"{tmp_path}/data/raw: no permission to write here")


def test_what_was_there_stays_where_the_last_step_fails(tmp_path: Path, people: Path, monkeypatch) -> None:
    raw = tmp_path / "data" / "raw"
    fetch(sections.data(source="folder", location=str(people)), 0, raw)
    before = (raw / "manifest.json").read_bytes()
    (people / "face_0.png").unlink()
    failing("replace", errno.EACCES, lambda path: path.name == ".raw.tmp", monkeypatch)
    with pytest.raises(BruleError, match="raw: no permission to write here"):
        fetch(sections.data(source="folder", location=str(people)), 0, raw)
    assert (raw / "manifest.json").read_bytes() == before
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]


def test_a_limit_does_not_make_few_labels_fewer(tmp_path: Path, people: Path) -> None:
    for number in range(5, 20):
        (people / f"face_{number}.pts").unlink()
    (tmp_path / "s").mkdir()
    shutil.copy(people / "face_1.pts", tmp_path / "s")
    fetch(sections.data(source="folder", location=str(people), shapes=str(tmp_path / "s")), 0, tmp_path / "raw")
    held = {}
    for limit in (None, 3):
        prepare(tmp_path / "raw", tmp_path / "crops", sections.prepare(validation=0.3, test=0.3, limit=limit), 0)
        parts = [load(tmp_path / "crops", split, labels=False).index for split in ("validation", "test")]
        held[limit] = [int(part.labelled.sum()) for part in parts]
    assert held[3] == held[None] and sum(held[3]) == 5
