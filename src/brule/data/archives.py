"""Zip and tar archives, unpacked without ever writing outside their folder."""

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from brule import files
from brule.errors import BruleError

MAX_RATIO = 200
"""An archive that unpacks to more than so many times its size is taken for a bomb."""
HARMLESS = 2**30
"""… unless that is less than so many bytes."""
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
# A damaged gzip stream is an OSError without a number; damaged offsets and names are refused by the system.
_NONSENSE = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)


class DamagedError(BruleError):
    """The archive's bytes are wrong: another download may mend it."""


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or a tar (plain, .gz, .bz2, .xz), by its content, or by a name that claims so."""
    if not path.is_file():
        return False
    named = path.name.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".txz"))
    return named or zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def extract(archive: Path, folder: Path) -> None:
    """Unpack every plain file of the archive below `folder`.

    Raises BruleError naming the archive where it is damaged (`DamagedError`) or encrypted, where a member is absolute,
    climbs out (`..`), or is a link or a device, and where it would unpack to an absurd size or to more than the disk
    holds. What was unpacked before that remains: give a folder to throw away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    budget = _Budget(archive, folder)
    try:
        with files.writing(folder):
            if zipfile.is_zipfile(archive):
                _extract_zip(archive, folder, budget)
            else:
                _extract_tar(archive, folder, budget)
    except _BROKEN:
        raise DamagedError(f"{archive}: the archive is damaged or cut short; download it again") from None
    except OSError as error:
        if error.errno not in _NONSENSE:
            raise
        raise DamagedError(f"{archive}: the archive is damaged or cut short; download it again") from None


class _Budget:
    """Counts the bytes to come, so that a bomb stops before it fills the disk."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.total = archive, 0
        self.limit = max(HARMLESS, MAX_RATIO * archive.stat().st_size)
        self.free = shutil.disk_usage(folder).free

    def spend(self, size: int) -> None:
        self.total += size
        if self.total > self.limit:
            raise BruleError(f"{self.archive}: unpacks to more than {MAX_RATIO} times its size; this is no data set")
        if self.total > self.free:
            raise BruleError(f"{self.archive}: unpacks to more than the {self.free / 1e9:.1f} GB free; make room")


def _extract_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        budget.spend(sum(member.file_size for member in members))
        for member in members:
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise BruleError(f"{archive}: {member.filename!r} is a link or a device; pack plain files")
            if member.flag_bits & 1:
                raise BruleError(f"{archive}: {member.filename!r} is encrypted; unpack it yourself and give the folder")
            target = _inside(archive, folder, member.filename)
            if not member.filename.endswith("/"):
                with opened.open(member) as source:
                    _copy(source, target)


def _extract_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    with tarfile.open(archive) as opened:
        for member in opened:
            budget.spend(member.size)
            target = _inside(archive, folder, member.name)
            if member.isdir():
                continue
            # Second lock on the same door: tarfile's own check, which also resolves what is on the disk already.
            tarfile.data_filter(member, str(folder))
            source = opened.extractfile(member) if member.isreg() else None
            if source is None:
                raise BruleError(f"{archive}: {member.name!r} is a link or a device; pack plain files")
            with source:
                _copy(source, target)


def _inside(archive: Path, folder: Path, name: str) -> Path:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts or ("",))[0] or "\0" in name:
        raise BruleError(f"{archive}: {name!r} points outside the archive's folder; do not trust this archive")
    return folder.joinpath(*pure.parts)


def _copy(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        shutil.copyfileobj(source, stream, 2**20)


@contextmanager
def unpacked(path: Path, workspace: Path) -> Iterator[Path]:
    """A folder as it is; an archive unpacked below `workspace`, and removed again at the end."""
    if path.is_dir():
        yield path
        return
    if not is_archive(path):
        raise BruleError(f"{path}: is neither a folder nor a zip or tar archive; give one of these")
    folder = workspace / path.name.split(".")[0]
    try:
        extract(path, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
