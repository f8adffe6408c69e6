"""Downloads from a local server: they resume, are checked, and fail with one sentence."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from brule.data.download import DamagedError, Resuming, digest, local
from brule.errors import BruleError

PAYLOAD = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves PAYLOAD at /a.zip and /a%0Ab.zip. `cuts`: after how many bytes each of the next answers breaks off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.payload, self.etag, self.cuts, self.ranges = PAYLOAD, '"one"', [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/a.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path not in ("/a.zip", "/a%0Ab.zip"):
            self.send_error(500 if self.path == "/broken" else 404)
            return
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = 0
        if wanted and self.headers.get("If-Range") == self.server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = self.server.payload[start:]
        if start and not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(Resuming.__init__, "__defaults__", (3, 0.0))
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / ".resume" / "downloads").rglob("*") if path.is_file())


def test_a_fault_in_a_download_with_an_odd_name_is_told_of_its_address(server: Server):
    odd = server.url.replace("a.zip", "a%0Ab.zip")
    with pytest.raises(BruleError) as caught, local(odd) as path:
        raise BruleError(f"{path}: is no set; give another")
    assert str(caught.value) == f"{odd}: is no set; give another"


@pytest.mark.parametrize("sha256", [None, DIGEST, f"sha256:{DIGEST.upper()}"])
def test_a_download_is_whole_and_removed_after_use(server: Server, tmp_path: Path, sha256):
    with local(server.url, sha256) as path:
        assert path.name == "a.zip"
        assert path.read_bytes() == PAYLOAD
    assert kept(tmp_path) == []


def test_a_broken_connection_goes_on_where_it_stopped(server: Server):
    server.cuts = [300_000, 200_000]
    with local(server.url, DIGEST) as path:
        assert path.read_bytes() == PAYLOAD
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_run_goes_on_too(server: Server, tmp_path: Path):
    server.cuts = [100_000, 100_000, 100_000]
    with (
        pytest.raises(BruleError, match=r"a\.zip: the download was interrupted .*run again to resume"),
        local(server.url),
    ):
        pass
    assert kept(tmp_path) == ["a.zip.part", "a.zip.part.voucher"]
    with local(server.url, DIGEST) as path:
        assert path.read_bytes() == PAYLOAD
    assert server.ranges[-1] == "bytes=300000-"


def test_parts_of_two_different_files_are_never_joined(server: Server):
    server.cuts = [100_000] * 3
    with pytest.raises(BruleError), local(server.url):
        pass
    server.payload, server.etag = PAYLOAD[::-1], '"two"'
    with local(server.url) as path:
        assert path.read_bytes() == PAYLOAD[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_a_server_that_does_not_vouch_is_asked_for_everything(server: Server, etag: str):
    server.etag, server.cuts = etag, [100_000]
    with local(server.url, DIGEST) as path:
        assert path.read_bytes() == PAYLOAD
    assert server.ranges == [None, None]


def test_a_part_that_is_longer_than_the_file_starts_again(server: Server):
    server.cuts = [100_000] * 3
    with pytest.raises(BruleError), local(server.url):
        pass
    server.payload = PAYLOAD[:300_000]
    with local(server.url) as path:
        assert path.read_bytes() == PAYLOAD[:300_000]


def test_a_wrong_digest_is_named_with_both_and_thrown_away(server: Server, tmp_path: Path):
    words = rf"a\.zip: the download's sha256 is {DIGEST}, not {'0' * 64}"
    with pytest.raises(BruleError, match=words) as error, local(server.url, "0" * 64):
        pass
    assert "\n" not in str(error.value)
    assert kept(tmp_path) == []


@pytest.mark.parametrize(("path", "words"), [("/none.zip", "404"), ("/broken", "interrupted")])
def test_what_the_server_refuses_gets_one_sentence(server: Server, path: str, words: str):
    with pytest.raises(BruleError, match=words) as error, local(server.url.replace("/a.zip", path)):
        pass
    assert "\n" not in str(error.value)


def test_no_server_at_all(server: Server):
    server.shutdown()
    server.server_close()
    with pytest.raises(BruleError, match="interrupted"), local(server.url):
        pass


def test_a_failure_afterwards_keeps_the_download_unless_it_is_damaged(server: Server, tmp_path: Path):
    with pytest.raises(BruleError), local(server.url):
        raise BruleError("the disk is full")
    assert kept(tmp_path) == ["a.zip"]
    with pytest.raises(DamagedError), local(server.url):
        raise DamagedError("damaged")
    assert kept(tmp_path) == []
    assert len(server.ranges) == 1


def test_files_and_folders(tmp_path: Path, monkeypatch):
    file = tmp_path / "with space.zip"
    file.write_bytes(PAYLOAD)
    for location in (str(file), file.as_uri()):
        with local(location, DIGEST) as path:
            assert path == file
    with local(str(tmp_path)) as path:
        assert path == tmp_path
    with pytest.raises(BruleError, match=rf"sha256 is {DIGEST}, not {'1' * 64}"), local(str(file), "1" * 64):
        pass
    assert file.exists()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with local("with space.zip") as path:
        assert path.read_bytes() == PAYLOAD
    assert digest(file) == DIGEST


@pytest.mark.parametrize(
    ("location", "words"), [("nowhere/at all", "does not exist"), ("s3://bucket/a.zip", "s3 is not supported")]
)
def test_what_is_not_a_location(location: str, words: str):
    with pytest.raises(BruleError, match=f"{location}: {words}"), local(location):
        pass


def test_the_sentence_names_the_parameter(tmp_path: Path):
    with (
        pytest.raises(BruleError, match=r"^nowhere: does not exist; set data\.shapes to"),
        local("nowhere", key="data.shapes"),
    ):
        pass
    with pytest.raises(BruleError, match=r"a folder has no sha256"), local(str(tmp_path), DIGEST):
        pass
