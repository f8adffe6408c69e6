"""The project's folder, and atomic writes: a reader meets the old file or the new one, whole."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule.errors import BruleError

_SENTENCES = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EFBIG: "the file is larger than its filesystem allows; write it to another disk",
    errno.EACCES: "no permission to write here; change the permission or write elsewhere",
    errno.EPERM: "no permission to write here; change the permission or write elsewhere",
    errno.EROFS: "the filesystem is read-only; write elsewhere",
    errno.EISDIR: "a folder stands where a file is to be written; move the folder away",
    errno.ENOTDIR: "a file stands where a folder is needed; move the file away",
    errno.EEXIST: "a file stands where a folder is needed; move the file away",
}

_ROOM = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Of these no file that is read is the cause."""


def root() -> Path:
    """The project's folder, even if DVC runs a stage in a temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT") or ".")


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success it is synced and replaces `path`, otherwise it is removed.

    At any moment, even after a kill, a reader of `path` meets the old file or the new one. Missing parent folders are
    made. Raises BruleError naming `path` on a full disk, a missing permission and the like.
    """
    path = Path(path)
    # The suffix stays last, since np.save, PIL and matplotlib choose their format by it.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        with writing(path):
            make_folder(path.parent)
            yield temporary
            synchronise(temporary)
            os.replace(temporary, path)
            synchronise(path.parent)
    except FileNotFoundError as error:
        if error.filename != str(temporary):
            raise
        raise BruleError(f"{path}: no file can be made here; write elsewhere") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless they exist. Raises BruleError naming it."""
    with writing(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # inside a folder of the system, such as /proc
            raise BruleError(f"{path}: no folder can be made here; write elsewhere") from None


def shown(path: Path) -> str:
    """A path as text in any encoding. Bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(path).decode(errors="replace")


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a BruleError. Other errors pass.

    A refusal of a file elsewhere, which is read meanwhile, is told of that file.
    """
    try:
        yield
    except OSError as error:
        short = error.errno is None and "requested and" in str(error)  # numpy's words for a full disk
        sentence = _SENTENCES.get(errno.ENOSPC if short else error.errno or 0)
        if sentence is None:
            raise
        if error.errno not in _ROOM and not _concerns(error.filename, Path(path)):
            if error.errno not in (errno.EACCES, errno.EPERM):
                raise
            raise BruleError(f"{error.filename}: no permission to read it; change its permissions") from error
        raise BruleError(f"{path}: {sentence}") from error


def _concerns(name: object, path: Path) -> bool:
    """Whether an error's file is `path`, what stands in its place meanwhile, or a folder above; no name: it may be."""
    if not isinstance(name, str | Path) or Path(name).name == str(name):  # of a file to delete, shutil knows no more
        return True
    beside = Path(name).relative_to(path.parent).parts[:1] if Path(name).is_relative_to(path.parent) else ()
    return path.is_relative_to(name) or any(part == path.name or part.startswith(f".{path.stem}.") for part in beside)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Replace the file by `data`, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Replace the file by `text` in UTF-8 with plain newlines, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, obj: Any) -> None:
    """Replace the file by indented JSON, atomically. NaN and infinity, which JSON does not have, raise ValueError."""
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha(data: bytes) -> str:
    """16 hexadecimal digits of the sha256: short enough for a file's name, long enough to tell two files apart."""
    return hashlib.sha256(data).hexdigest()[:16]


def sha_lines(data: bytes) -> str:
    """`sha` of a text file's lines without the blank ones and the comments (#), which may be reworded."""
    lines = (line.strip() for line in data.splitlines())
    return sha(b"\n".join(line for line in lines if line and not line.startswith(b"#")))


def save_array(path: Path | str, array: npt.ArrayLike) -> None:
    """Replace the .npy file by `array` (never pickled), atomically."""
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.asarray(array), allow_pickle=False)


def synchronise(path: Path) -> None:
    """Push a file or a folder to the disk, unless the filesystem cannot sync it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path`. On success it replaces `path`, otherwise it is removed.

    The next run clears what a killed one left. Raises BruleError like `atomic`.
    """
    path = Path(path)
    fresh, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    try:
        with writing(path):
            if old.exists() and not path.exists():  # a run was killed between the two renamings below
                os.replace(old, path)
            for left_over in (fresh, old):
                if left_over.exists():
                    shutil.rmtree(left_over)
            fresh.mkdir(parents=True)
            yield fresh
            if path.exists():
                os.replace(path, old)
            os.replace(fresh, path)
            synchronise(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        for left_over in (fresh, old):
            shutil.rmtree(left_over, ignore_errors=True)
