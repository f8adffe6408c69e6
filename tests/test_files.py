"""A file is the old one or the new one, whole."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brule import files
from brule.errors import BruleError

ROOT = Path(__file__).parents[1]


def refuse(code: int):
    def function(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return function


def test_what_is_written_is_read(tmp_path: Path):
    files.write_bytes(tmp_path / "deep" / "b", b"\0\1")
    files.write_text(tmp_path / "t.txt", "λ\n")
    files.write_json(tmp_path / "j.json", {"a": [1, "λ"]})
    files.save_array(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert (tmp_path / "deep" / "b").read_bytes() == b"\0\1"
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "λ\n"
    assert '"λ"' in (tmp_path / "j.json").read_text(encoding="utf-8")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), [[0, 1, 2], [3, 4, 5]])


def test_objects_are_never_pickled(tmp_path: Path):
    with pytest.raises(ValueError, match="allow_pickle"):
        files.save_array(tmp_path / "a.npy", np.array([object()]))
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_what_json_has_not(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "j.json", {"nme": float("nan")})


def test_a_failure_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "model.bin"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_the_systems_refusal_is_a_sentence_with_the_files_name(tmp_path: Path, monkeypatch, code, words, call):
    path = tmp_path / "model.bin"
    files.write_text(path, "old")
    monkeypatch.setattr(files.os, call, refuse(code))
    with pytest.raises(BruleError, match=rf"model\.bin: .*{words}"):
        files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_disk(tmp_path: Path):
    with pytest.raises(BruleError, match="disk is full"), files.atomic(tmp_path / "a.npy") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(bytes(10**6))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_array_on_a_really_full_disk(tmp_path: Path, monkeypatch):
    """numpy tells it in words of its own, without the system's number."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0")
    (tmp_path / ".a.0.tmp.npy").symlink_to("/dev/full")
    with pytest.raises(BruleError, match=r"a\.npy: the disk is full"):
        files.save_array(tmp_path / "a.npy", np.zeros(10**6))
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_may_not_be_read_is_not_told_as_an_output(tmp_path: Path):
    source = tmp_path / "raw" / "1.png"
    for writer in (files.atomic, files.folder):
        with pytest.raises(BruleError) as error, writer(tmp_path / "crops"):
            raise PermissionError(errno.EACCES, "Permission denied", str(source))
        assert str(error.value) == f"{source}: no permission to read it; change its permissions"
        with (
            pytest.raises(BruleError, match=r"crops: no permission to write here"),
            writer(tmp_path / "crops") as place,
        ):
            raise PermissionError(errno.EACCES, "Permission denied", str(place / "1.npy"))


MOUNTS = {
    "read-only": ("mount --bind data data && mount -o remount,bind,ro data", "the filesystem is read-only"),
    "full": (
        "cp -r data kept && mount -t tmpfs -o size=1m none data && cp -r kept/. data && cp /dev/zero data/rest",
        "the disk is full",
    ),
}


@pytest.mark.parametrize("how", MOUNTS)
def test_a_stage_that_cannot_write_says_why_in_one_line(project: Path, how: str) -> None:
    mount, words = MOUNTS[how]
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    tried = [*inside, "mount -t tmpfs none /mnt"]
    if not shutil.which("unshare") or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    (project / "data" / "barycenter.npy").unlink()
    shutil.copy(ROOT / "params.yaml", project)
    stage = f"{{ {mount}; }} 2>&-; exec {sys.executable} {ROOT}/pipelines/barycenter.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    told = subprocess.run([*inside, stage], cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 1 and told.stderr.startswith(f"data/barycenter.npy: {words}")
    assert told.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder in which nobody makes files")
@pytest.mark.parametrize("path", ["/proc/a.txt", "/proc/a/b.txt"])
def test_where_nothing_can_be_made_the_sentence_has_the_users_path(path: str):
    with pytest.raises(BruleError, match=rf"^{path.removesuffix('/b.txt')}: no (file|folder) can be made here"):
        files.write_text(path, "")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path):
    (tmp_path / "a").write_text("")
    with pytest.raises(BruleError, match=r"/a: a file stands where a folder is needed"):
        files.write_text(tmp_path / "a" / "b.txt", "")
    with pytest.raises(BruleError, match=r"/a/b: a file stands where a folder is needed"):
        files.write_text(tmp_path / "a" / "b" / "c.txt", "")


def test_other_errors_of_the_system_pass(tmp_path: Path):
    with pytest.raises(FileNotFoundError), files.atomic(tmp_path / "a"):
        (tmp_path / "nowhere").read_bytes()


def test_a_folder_is_replaced_whole(tmp_path: Path):
    target = tmp_path / "crops"
    with files.folder(target) as folder:
        (folder / "one").write_text("1")
    with files.folder(target) as folder:
        (folder / "two").write_text("2")
    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path):
    target = tmp_path / "crops"
    with files.folder(target) as folder:
        (folder / "one").write_text("1")
    with pytest.raises(RuntimeError), files.folder(target) as folder:
        (folder / "two").write_text("2")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path):
    (tmp_path / ".crops.tmp").mkdir()
    (tmp_path / ".crops.tmp" / "stale").write_text("")
    with files.folder(tmp_path / "crops") as folder:
        assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_a_kill_between_the_two_renamings_loses_nothing(tmp_path: Path):
    (tmp_path / ".crops.old").mkdir()  # moved away, and nothing took its place
    (tmp_path / ".crops.old" / "one").write_text("1")
    with pytest.raises(RuntimeError), files.folder(tmp_path / "crops"):
        raise RuntimeError
    assert (tmp_path / "crops" / "one").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_ctrl_c_between_the_two_renamings_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "crops"
    with files.folder(target) as folder:
        (folder / "one").write_text("1")
    replace = files.os.replace

    def interrupted(source: Path, place: Path) -> None:
        if source.name == ".crops.tmp":
            raise KeyboardInterrupt
        replace(source, place)

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), files.folder(target) as folder:
        (folder / "two").write_text("2")
    assert [path.name for path in target.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [target]


def test_the_root_is_the_real_repository_where_dvc_runs_in_a_copy(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert files.root() == tmp_path
    for unset in (lambda: monkeypatch.setenv("DVC_ROOT", ""), lambda: monkeypatch.delenv("DVC_ROOT")):
        unset()
        assert files.root().resolve() == Path.cwd()
