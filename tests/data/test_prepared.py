"""Reading the prepared folder: labels only on request, and damage gets one sentence."""

import builtins
import io
import os
from pathlib import Path

import numpy as np
import pytest

from brule import files
from brule.data import prepared
from brule.data.schemes import Scheme
from brule.errors import BruleError

INDEX = "name,source,group,labelled,framed\nNA,folder,007,1,1\nb,celeba,b,0,0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    points = np.full((2, 3, 2), np.nan, dtype=np.float32)
    points[0] = 0.5
    files.save_array(tmp_path / "train" / "images.npy", np.full((2, 64, 64, 3), 7, dtype=np.uint8))
    files.save_array(tmp_path / "train" / "landmarks.npy", points)
    files.write_text(tmp_path / "train" / "index.csv", INDEX)
    files.save_array(tmp_path / "shapes.npy", points[:1])
    files.write_json(tmp_path / "manifest.json", {"scheme": Scheme.plain(["a", "b", "c"]).to_json()})
    return tmp_path


def test_what_was_written_is_read(folder: Path):
    part = prepared.load(folder, "train", labels=True)
    assert len(part) == 2
    assert part.images[1, 2, 3, 0] == 7
    assert isinstance(part.images, np.memmap)
    assert not part.images.flags.writeable
    assert part.landmarks is not None
    np.testing.assert_array_equal(np.isnan(part.landmarks).any((1, 2)), [False, True])
    assert list(part.index.name) == ["NA", "b"]
    assert list(part.index.group) == ["007", "b"]
    assert list(part.index.labelled) == [True, False]
    assert list(part.index.framed) == [True, False]
    assert prepared.load_shapes(folder).shape == (1, 3, 2)
    assert prepared.load_scheme(folder).names == ("a", "b", "c")


def test_without_labels_the_landmarks_are_never_opened(folder: Path, monkeypatch):
    (folder / "train" / "landmarks.npy").unlink()
    opened = []
    real = builtins.open
    monkeypatch.setattr(builtins, "open", lambda *a, **k: (opened.append(str(a[0])), real(*a, **k))[1])
    assert prepared.load(folder, "train", labels=False).landmarks is None
    assert any("images.npy" in path for path in opened)
    assert not any("landmarks" in path for path in opened)
    with pytest.raises(BruleError, match=r"landmarks\.npy: is missing"):
        prepared.load(folder, "train", labels=True)


def packed() -> bytes:
    np.savez(stream := io.BytesIO(), np.zeros((2, 3, 2), np.float32))
    return stream.getvalue()


NEGATIVE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (-200, 3, 2)}".ljust(117) + b"\n" + bytes(9000)


@pytest.mark.parametrize("name", ["images.npy", "landmarks.npy", "index.csv"])
@pytest.mark.parametrize(
    "data",
    [
        *(None, b"", b"garbage", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'", b"PK\x05\x06" + bytes(9), packed()),
        *(b"\x93NUMPY\x01\x00v\x00" + NEGATIVE, INDEX.replace(",1,", f",{9**99},").encode()),
    ],
)
def test_damage_gets_one_sentence(folder: Path, name: str, data: bytes | None):
    if data is None:
        (folder / "train" / name).unlink()
    else:
        (folder / "train" / name).write_bytes(data)
    with pytest.raises(BruleError, match=rf"{name}: .*; run the prepare stage again") as error:
        prepared.load(folder, "train", labels=True)
    assert "\n" not in str(error.value)


def test_the_barycenter_is_read_or_its_stage_is_named(tmp_path: Path):
    path = tmp_path / "barycenter.npy"
    for write, words in (
        (lambda: None, "is missing"),
        (lambda: path.write_bytes(b"garbage"), "is damaged"),
        (lambda: files.save_array(path, np.zeros((2, 3, 2), np.float32)), "has type float32 and shape"),
        (lambda: files.save_array(path, np.full((3, 2), 0.5, np.float32)), "its landmarks are no shape"),
        (lambda: files.save_array(path, np.array([[0, 1], [np.nan, 2]], np.float32)), "its landmarks are no shape"),
    ):
        write()
        with pytest.raises(BruleError, match=rf"barycenter\.npy: {words}.*; run the barycenter stage again"):
            prepared.load_barycenter(path)
    shape = np.arange(1400, dtype=np.float32).reshape(700, 2)
    files.save_array(path, shape)
    found = prepared.load_barycenter(path)
    assert (found == shape).all() and found.flags.writeable


def test_a_cut_off_array_is_damaged(folder: Path):
    path = folder / "train" / "images.npy"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(BruleError, match=r"images\.npy: is damaged"):
        prepared.load(folder, "train", labels=False)


def test_parts_of_different_runs(folder: Path):
    files.write_text(folder / "train" / "index.csv", INDEX + "c,folder,c,1,1\n")
    with pytest.raises(BruleError, match="differ in the number of images"):
        prepared.load(folder, "train", labels=False)
    files.save_array(folder / "shapes.npy", np.zeros((2, 3, 2)))
    with pytest.raises(BruleError, match=r"shapes\.npy: has type float64 and shape"):
        prepared.load_shapes(folder)


TWINS = '{"scheme": {"names": ["a", "a"], "flip": null, "normaliser": null, "edges": []}}'


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"scheme": 3}', "[" * 100_000, '{"scheme": {"flip": [1e999]}}', TWINS]
)
def test_a_damaged_manifest(folder: Path, text: str):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BruleError, match=rf"^{folder}/manifest\.json: .* run the prepare stage again"):
        prepared.load_scheme(folder)


def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(BruleError, match=r"manifest\.json: is missing"):
        prepared.load_scheme(tmp_path)
