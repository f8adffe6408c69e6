"""Archives are unpacked inside their folder, or refused."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brule.data import download
from brule.data.download import DamagedError, extract, is_archive, unpacked
from brule.errors import BruleError


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:
        for info, data in members:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def make_zip(path: Path, *names: str, mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, b"data")
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "a.zip": lambda path: make_zip(path, "top/a.txt", "b.txt"),
    "a.tar": lambda path: make_tar(path, (tar_member("top/a.txt"), b"data"), (tar_member("b.txt"), b"data")),
    "a.tar.gz": lambda path: make_tar(
        path, (tar_member("./top/a.txt"), b"data"), (tar_member("b.txt"), b"data"), mode="w:gz"
    ),
    "a.tar.xz": lambda path: make_tar(
        path, (tar_member("top/a.txt"), b"data"), (tar_member("b.txt"), b"data"), mode="w:xz"
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_plain_archives(tmp_path: Path, name: str):
    path = MAKERS[name](tmp_path / name)
    assert is_archive(path)
    extract(path, tmp_path / "out")
    assert (tmp_path / "out" / "top" / "a.txt").read_bytes() == b"data"
    assert (tmp_path / "out" / "b.txt").read_bytes() == b"data"


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt", "a/.."]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_nothing_leaves_the_folder(tmp_path: Path, name: str, kind: str):
    place = tmp_path / "inner"
    place.mkdir()
    path = make_zip(place / "a.zip", name) if kind == "zip" else make_tar(place / "a.tar", (tar_member(name), b"data"))
    with pytest.raises(BruleError, match=r"a\.(zip|tar): .* points outside"):
        extract(path, place / "out")
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {path.name}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes):
    path = make_tar(tmp_path / "a.tar", (tar_member("link", kind, "/etc/passwd"), b""), (tar_member("link/x"), b"data"))
    with pytest.raises(BruleError, match="link"):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_links_in_a_zip(tmp_path: Path):
    path = make_zip(tmp_path / "a.zip", "link", mode=stat.S_IFLNK | 0o777)
    with pytest.raises(BruleError, match="'link' is a link or a device"):
        extract(path, tmp_path / "out")


def test_encrypted_members(tmp_path: Path):
    path = make_zip(tmp_path / "a.zip", "a.txt")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the member's own header
    data[data.index(b"PK\1\2") + 8] |= 1  # and in the directory
    path.write_bytes(data)
    with pytest.raises(BruleError, match=r"'a\.txt' is encrypted"):
        extract(path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_bombs_stop_before_they_fill_the_disk(tmp_path: Path, monkeypatch, kind: str):
    monkeypatch.setattr(download, "HARMLESS", 10**6)
    zeros = bytes(5 * 10**6)
    if kind == "zip":
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("zeros", zeros)
    else:
        path = make_tar(tmp_path / "a.tgz", (tar_member("zeros"), zeros), mode="w:gz")
    with pytest.raises(BruleError, match="200 times its size"):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_member_without_a_name_is_damage(tmp_path: Path):
    path = make_zip(tmp_path / "a.zip", "")
    with pytest.raises(DamagedError, match=r"a\.zip: the archive is damaged"):
        extract(path, tmp_path / "out")


def test_more_than_the_disk_holds(tmp_path: Path, monkeypatch):
    path = make_zip(tmp_path / "a.zip", "a.txt")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: download.shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BruleError, match=r"more than the 0\.0 GB free"):
        extract(path, tmp_path / "out")


@pytest.mark.parametrize("name", MAKERS)
def test_damaged_archives_get_one_sentence(tmp_path: Path, name: str):
    """Cut anywhere, filled with noise anywhere: unpacked or refused, never another error."""
    whole = MAKERS[name](tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for attempt in range(40):
        data = bytearray(whole[: rng.integers(1, len(whole))] if attempt % 2 else whole)
        for place in rng.integers(0, len(data), 6):
            data[place] = rng.integers(0, 256)
        (tmp_path / name).write_bytes(data)
        try:
            extract(tmp_path / name, tmp_path / "out" / str(attempt))
        except BruleError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 10
    (tmp_path / name).write_bytes(whole[: 514 if name == "a.tar" else len(whole) // 2])
    with pytest.raises(DamagedError, match=f"{name}: the archive is damaged"):
        extract(tmp_path / name, tmp_path / "out")


def test_unpacked_cleans_up_and_refuses_what_is_not_an_archive(tmp_path: Path):
    path = MAKERS["a.zip"](tmp_path / "a.zip")
    with unpacked(path, tmp_path / "work") as folder:
        assert folder == tmp_path / "work" / "a"
        assert (folder / "b.txt").exists()
    assert not folder.exists()
    with unpacked(tmp_path, tmp_path / "work") as folder:
        assert folder == tmp_path
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(BruleError, match="neither a folder nor a zip or tar"), unpacked(tmp_path / "a.txt", tmp_path):
        pass
