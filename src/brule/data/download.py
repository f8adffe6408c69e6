"""From a location to a path on this disk: downloads resume and are checked, archives unpack into their folder only."""

import base64
import errno
import hashlib
import http.client
import lzma
import netrc
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from brule import files
from brule.errors import BruleError, quoted, sentence
from brule.terminal import transfer

MAX_RATIO = 200
"""An archive that unpacks to more than this many times its own size counts as a bomb …"""
HARMLESS = 2**30
"""… unless it unpacks to fewer bytes than this."""
# ValueError, OverflowError and IndexError: a name or a date that only a damaged archive holds.
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError,
    OverflowError, IndexError,
)  # fmt: skip
# A damaged gzip stream is an OSError without a number; the system refuses damaged offsets and names.
_NONSENSE = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)


class DamagedError(BruleError):
    """The archive's bytes are wrong. Another download may help."""


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or a tar (plain, .gz, .bz2, .xz), by its content or by its name."""
    if not path.is_file():
        return False
    named = path.name.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".txz"))
    return named or zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def extract(archive: Path, folder: Path) -> None:
    """Unpack every plain file of the archive below `folder`.

    Raises BruleError naming the archive if it is damaged (`DamagedError`) or encrypted, if a member is absolute, climbs
    out (`..`), or is a link or a device, and if it would unpack to an absurd size or to more than the disk holds. What
    was unpacked before the error remains, so give a folder that can be thrown away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    budget = _Budget(archive, folder)
    try:
        with files.writing(folder):
            try:
                (_extract_zip if zipfile.is_zipfile(archive) else _extract_tar)(archive, folder, budget)
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise BruleError(f"{archive}: a file and a folder in it have one name; pack it again") from None
    except _BROKEN:
        raise DamagedError(f"{archive}: the archive is damaged or incomplete; download it again") from None
    except OSError as error:
        if error.errno not in _NONSENSE:
            raise
        raise DamagedError(f"{archive}: the archive is damaged or incomplete; download it again") from None


class _Budget:
    """Counts the bytes before they are written, so that a bomb stops before it fills the disk."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.total = archive, 0
        self.limit = max(HARMLESS, MAX_RATIO * archive.stat().st_size)
        self.free = shutil.disk_usage(folder).free

    def spend(self, size: int) -> None:
        self.total += size
        if self.total > self.limit:
            raise BruleError(
                f"{self.archive}: unpacks to more than {MAX_RATIO} times its size, as no data set does; "
                "do not trust this archive"
            )
        if self.total > self.free:
            raise BruleError(f"{self.archive}: unpacks to more than the {self.free / 1e9:.1f} GB free; free some space")


def _extract_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        budget.spend(sum(member.file_size for member in members))
        for member in members:
            plain = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            _admit(archive, member.filename, plain)
            if member.flag_bits & 1:
                name = quoted(member.filename)
                raise BruleError(f"{archive}: {name} is encrypted; unpack it yourself and give the folder")
            if not member.is_dir():
                opened.extract(member, folder)


def _extract_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    with tarfile.open(archive) as opened:
        for member in opened:
            budget.spend(member.size)
            _admit(archive, member.name, plain=member.isreg() or member.isdir())
            if member.isreg():
                opened.extract(member, folder, filter="data")


def _admit(archive: Path, name: str, plain: bool) -> None:
    """The standard library keeps members inside the folder, by renaming some of them: here these are refused."""
    path = PureWindowsPath(name)  # knows drives and both slashes
    if path.anchor or ".." in path.parts:
        raise BruleError(f"{archive}: {quoted(name)} points outside the archive's folder; do not trust this archive")
    if not plain:
        raise BruleError(f"{archive}: {quoted(name)} is a link or a device; pack plain files only")


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
        with called(folder, f"{path}: "):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def called(place: Path, name: str) -> Iterator[None]:
    """Errors about what lies at or in a place of ours call it by the user's own name."""
    try:
        yield
    except BruleError as error:
        ours = sentence(str(place))
        told = str(error).replace(f"{ours}/", name).replace(ours, name.removesuffix(": "))
        raise type(error)(told) from None


ATTEMPTS = 5
TIMEOUT = 60.0
"""A connection counts as broken after this many seconds without a byte."""


@contextmanager
def local(location: str, sha256: str | None = None, key: str = "data.location") -> Iterator[Path]:
    """The file or folder at a location. A URL (http, https) is downloaded first, and kept only until the end.

    After a failure the downloaded file stays for the next run, unless it is damaged. Raises BruleError naming the
    location if it does not exist, cannot be fetched, or has another sha256. `key` is the parameter that these sentences
    name.
    """
    parts = address(location, key)
    scheme = parts.scheme.lower()
    if scheme in ("http", "https"):
        # What has arrived belongs to the address, so that a new signature goes on with it; if the server agrees, see
        # `Resuming`. What is whole belongs to the signature as well, which may be the number of another file.
        partial = files.root() / ".resume" / "downloads" / files.sha(f"{parts.hostname}{parts.path}".encode())
        whole = partial / files.sha(location.encode())
        try:
            path = _download(location, parts, sha256, partial, whole)
            with called(path, location):
                yield path
        except DamagedError:
            _remove(whole)
            raise
        _remove(whole)
        return
    path = _path(location, scheme, key)
    if path.is_dir() and sha256 is not None:
        raise BruleError(f"{location}: a folder has no sha256; remove the digest, or set {key} to an archive")
    if sha256 is not None:
        actual = digest(path)
        if actual != _hexadecimal(sha256):
            raise BruleError(f"{path}: its sha256 is {actual}, not {sha256}; correct the file or the digest")
    yield path


def address(location: str, key: str = "data.location") -> SplitResult:
    """The parts of a location. Raises BruleError if it looks like a URL, and is none.

    Of an address with spaces in it nobody can tell, in the middle of a sentence, where its password ends.
    """
    try:
        parts = urlsplit(location)
        parts.port  # noqa: B018 (which is parsed only when asked for)
        location.encode()
    except ValueError:
        raise BruleError(f"{ascii(location)[1:-1]}: is not a valid address; set {key} to another") from None
    if "://" in location and any(map(str.isspace, parts.netloc + parts.query)):
        raise BruleError(f"{key}: the address holds a space in its password or after its ?; write it as %20")
    return parts


def _remove(whole: Path) -> None:
    shutil.rmtree(whole, ignore_errors=True)
    with suppress(OSError):  # something else is there
        whole.parent.rmdir()


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _path(location: str, scheme: str, key: str) -> Path:
    if scheme == "file":
        path = Path(urllib.request.url2pathname(urlsplit(location).path))
    elif len(scheme) > 1:
        raise BruleError(f"{location}: {scheme} is not supported; give http, https, file, an archive or a folder")
    else:
        path = Path(location).expanduser()
    if not path.exists() and (files.root() / path).exists():
        path = files.root() / path
    if not path.exists():
        raise BruleError(f"{location}: does not exist; set {key} to a file, a folder, an archive or a URL")
    if not os.access(path, os.R_OK):
        raise BruleError(f"{location}: no permission to read it; change its permissions")
    return path


def _hexadecimal(sha256: str) -> str:
    return sha256.strip().lower().removeprefix("sha256:")


def _download(location: str, parts: SplitResult, sha256: str | None, partial: Path, folder: Path) -> Path:
    import pooch  # here, since whoever only unpacks or reads needs no downloads

    name = PurePosixPath(unquote(parts.path)).name or "download"
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    url = quote(urlunsplit(plain), safe="!#$%&'()*+,/:;=?@[]~")
    pooch.get_logger().setLevel("WARNING")
    known = None if sha256 is None else f"sha256:{_hexadecimal(sha256)}"
    fetcher = Resuming(partial / f"{name}.part", location, _login(parts))
    with files.writing(partial):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return Path(pooch.retrieve(url, known, fname=name, path=folder, downloader=fetcher))
        except ValueError as error:  # pooch's error for a wrong digest; it has deleted the file
            found = re.search(r"got ([0-9a-f]{64})", str(error))
            actual = found.group(1) if found else "different"
            raise BruleError(
                f"{location}: the download's sha256 is {actual}, not {sha256}; correct the URL or the digest"
            ) from None


def _login(parts: SplitResult) -> str | None:
    """The header Authorization, from the user and the password in the address, or else in ~/.netrc (or NETRC)."""
    user, word = (unquote(part) if part else "" for part in (parts.username, parts.password))
    if not user and not word:
        try:
            found = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname or "")
        except (OSError, UnicodeError, netrc.NetrcParseError):
            found = None
        if not found:
            return None
        user, _, word = found
    return "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()


class _BrokenError(Exception):
    """The connection ended early. Another attempt may succeed."""


_PASSING = (_BrokenError, http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError)


class Resuming:
    """A pooch downloader that keeps what has arrived in `partial` and asks the server for the rest (HTTP Range).

    It resumes only if the server confirms, by a strong ETag or a date, that the file is still the same (If-Range).
    """

    def __init__(
        self, partial: Path, location: str, login: str | None, attempts: int = ATTEMPTS, pause: float = 1.0
    ) -> None:
        """`location`: what errors call the URL. `login`: for the header Authorization."""
        self.partial, self.location, self.login = partial, location, login
        self.attempts, self.pause = attempts, pause
        self.voucher = partial.with_name(f"{partial.name}.voucher")

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        """Called by pooch. Raises BruleError naming the location."""
        for attempt in range(1, self.attempts + 1):
            try:
                self._continue(url)
                break
            except (http.client.InvalidURL, ValueError):
                raise BruleError(f"{self.location}: is not an address that can be fetched; correct it") from None
            except _PASSING as error:
                if isinstance(error, urllib.error.HTTPError) and error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise BruleError(self._refusal(error.code)) from None
                if attempt == self.attempts:
                    raise BruleError(
                        f"{self.location}: the download was interrupted ({_reason(error)}); run again to resume it"
                    ) from None
                time.sleep(self.pause * attempt)
        os.replace(self.partial, output_file)
        self.voucher.unlink(missing_ok=True)

    def _refusal(self, code: int) -> str:
        """In the words of the standard: the server's own may repeat what was asked for, with its secrets."""
        answer = f"{self.location}: the server answered {code} {http.client.responses.get(code, '')}".rstrip()
        if code not in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            return f"{answer}; correct the URL"
        return f"{answer}; give it a valid signature, or put the user and the password for the server into ~/.netrc"

    def _continue(self, url: str) -> None:
        have = self.partial.stat().st_size if self.partial.exists() and self.voucher.exists() else 0
        request = urllib.request.Request(url, headers={"User-Agent": "brule", "Accept-Encoding": "identity"})
        if self.login:
            request.add_unredirected_header("Authorization", self.login)  # no other server gets it
        if have:
            request.add_header("Range", f"bytes={have}-")
            request.add_header("If-Range", self.voucher.read_text(encoding="utf-8"))
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            self.partial.unlink()
            raise _BrokenError("the part on disk did not fit") from None
        with response:
            resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
            self._keep_voucher(response)
            self._receive(response, have if resumed else 0, url)

    def _keep_voucher(self, response: http.client.HTTPResponse) -> None:
        etag = response.headers.get("ETag", "")
        voucher = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        if voucher:
            self.voucher.write_text(voucher, encoding="utf-8")
        else:
            self.voucher.unlink(missing_ok=True)

    def _receive(self, response: http.client.HTTPResponse, start: int, url: str) -> None:
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        name = PurePosixPath(urlsplit(url).path).name
        with self.partial.open("ab" if start else "wb") as stream, transfer(name, total, start) as advance:
            while block := response.read(2**18):
                stream.write(block)
                advance(len(block))
            arrived = stream.tell()
        if total is not None and arrived != total:
            raise _BrokenError(f"{arrived} of {total} bytes arrived")


def _reason(error: Exception) -> str:
    """What ended a connection, in the words of the system; those of the server may repeat what was asked for."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code}"
    if isinstance(error, http.client.HTTPException):
        return type(error).__name__
    return str(getattr(error, "reason", error))
