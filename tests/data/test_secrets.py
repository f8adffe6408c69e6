"""A location may hold a password and a signature. They reach the server, and nobody else."""

import base64
import http.server
import io
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from brule import tracking
from brule.config import flatten, read
from brule.data.download import Resuming, local
from brule.data.sources import fetch
from brule.errors import BruleError, public
from brule.stages.proposal import propose

sys.path.insert(0, str(Path(__file__).parent))
import sections

ROOT = Path(__file__).parents[2]
USER, WORD, SIGNATURE, TOKEN = "mallory", "pass%2Fw0rd-Zq7", "c0ffee51gnature", "t0ken-91x"
SECRETS = (WORD, "pass/w0rd-Zq7", SIGNATURE, TOKEN, base64.b64encode(b"mallory:pass/w0rd-Zq7").decode())


class Server(http.server.ThreadingHTTPServer):
    """Serves one archive, to whoever knows the password and the signature."""

    archive = b""
    cuts: int = 0
    """How many answers break off."""
    elsewhere = ""
    """Where /moved redirects to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[str | None] = []

    def at(self, path: str, query: str = f"X-Amz-Signature={SIGNATURE}&token={TOKEN}", user: str = f"{USER}:{WORD}@"):
        return f"http://{user}127.0.0.1:{self.server_address[1]}/{path}?{query}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        self.server.seen.append(self.headers.get("Authorization"))
        if asked.path == "/moved.zip":
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere)
            self.end_headers()
        elif self.headers.get("Authorization") != f"Basic {SECRETS[-1]}":
            self.send_error(401, f"who asks for {self.path}")
        elif parse_qs(asked.query) != {"X-Amz-Signature": [SIGNATURE], "token": [TOKEN]}:
            self.send_error(403, f"what is {self.path}")
        elif asked.path not in ("/a.zip", "/some%20photos/%C3%A4.zip"):
            self.send_error(500 if asked.path == "/broken.zip" else 404, f"nothing at {self.path}")
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.archive)))
            self.send_header("ETag", '"one"')
            self.end_headers()
            self.server.cuts -= 1
            self.wfile.write(self.server.archive[: 100 if self.server.cuts >= 0 else None])

    def log_message(self, *_: object) -> None:
        pass


def serving() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def server(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(Resuming.__init__, "__defaults__", (2, 0.0))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in people.iterdir():
            archive.write(path, path.name)
    for running in serving():
        running.archive = packed.getvalue()
        yield running


def nowhere(*texts: str, project: Path = Path()) -> None:
    """No secret stands in these texts, nor in any file of the project but params.yaml."""
    for text in texts:
        assert not [secret for secret in SECRETS if secret in text], text
    for path in project.rglob("*"):
        assert not [secret for secret in SECRETS if secret in path.name]
        if path.is_file() and path.name != "params.yaml":
            assert not [secret for secret in SECRETS if secret.encode() in path.read_bytes()], path


def test_success_tells_nobody(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    extra = {"source": "folder", "location": server.at("some photos/ä.zip"), "use": "join"}
    data = sections.data(
        source="folder", location=server.at("a.zip"), shapes=server.at("a.zip"), extra=extra
    )  # as shapes: the .pts in it
    assert fetch(data, 0, Path("data/raw"))["extra"] == 20
    nowhere(*capfd.readouterr())
    before = Path("data/raw/manifest.json").read_bytes()
    fetch(data.model_copy(update={"location": f"{data.location}&"}), 0, Path("data/raw"))
    assert Path("data/raw/manifest.json").read_bytes() == before
    assert public(server.at("a.zip")).encode() in before


@pytest.mark.parametrize(
    ("path", "query", "user", "words"),
    [
        ("a.zip", f"token={TOKEN}", f"{USER}:{WORD}@", "the server answered 403 Forbidden; give it a valid signature"),
        ("a.zip", f"X-Amz-Signature={SIGNATURE}", "", r"answered 401 Unauthorized; .* into ~/\.netrc"),
        ("none.zip", f"X-Amz-Signature={SIGNATURE}&token={TOKEN}", f"{USER}:{WORD}@", "answered 404 Not Found"),
        ("broken.zip", f"X-Amz-Signature={SIGNATURE}&token={TOKEN}", f"{USER}:{WORD}@", r"interrupted \(.* 500\)"),
        ("", f"X-Amz-Signature={SIGNATURE}&token={TOKEN}", f"{USER}:{WORD}@", "answered 404"),
        ("a.zip", f"token={TOKEN}", f"{USER}:{WORD}@[::1", "is not a valid address; set data.location"),
        ("a.zip", f"token={TOKEN}", f"{USER}:pass/w0rd-Zq7@", "is not a valid address; set data.location"),
        ("a.zip", f"token={TOKEN}", f"{USER}:{WORD}@no such host:", "is not"),
        ("a.zip", f"token={TOKEN}", f"{USER}:a {WORD}@", "data.location: the address holds a space"),
        ("a.zip", f"token=a {TOKEN}", f"{USER}:{WORD}@", "after its .; write it as %20"),
    ],
)
def test_every_failure_is_told_without_secrets(
    server: Server, capfd: pytest.CaptureFixture[str], path: str, query: str, user: str, words: str
) -> None:
    with pytest.raises(BruleError, match=words) as caught:
        fetch(sections.data(source="folder", location=server.at(path, query, user)), 0, Path("data/raw"))
    nowhere(str(caught.value), *capfd.readouterr())


def test_a_broken_connection_a_wrong_digest_and_a_damaged_archive(server: Server) -> None:
    def refused(words: str, **keys: str) -> None:
        with pytest.raises(BruleError, match=words) as caught:
            fetch(sections.data(source="folder", location=server.at("a.zip"), **keys), 0, Path("data/raw"))
        nowhere(str(caught.value))

    server.cuts = 2
    refused("was interrupted .* run again to resume it")
    refused(r"the download's sha256 is [0-9a-f]{64}, not 000", sha256="0" * 64)
    server.archive = server.archive[:500]
    refused("the archive is damaged")
    server.shutdown()
    server.server_close()
    refused("was interrupted")


def test_the_stage_and_its_terminal(server: Server) -> None:
    raw = YAML(typ="safe").load(ROOT / "params.yaml")
    raw["data"] |= {"source": "folder", "location": server.at("a.zip")}
    YAML(typ="safe").dump(raw, Path("params.yaml"))
    called = [sys.executable, str(ROOT / "pipelines" / "download.py")]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    told = subprocess.run(called, env=env, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    nowhere(told.stdout, told.stderr)
    raw["data"] |= {"location": [server.at("a.zip")]}  # of a wrong type, which the sentence shows
    YAML(typ="safe").dump(raw, Path("params.yaml"))
    told = subprocess.run(called, env=env, capture_output=True, text=True)
    assert told.returncode == 1 and "data.location" in told.stderr
    nowhere(told.stdout, told.stderr)


def test_mlflow_gets_no_secret(server: Server) -> None:
    pytest.importorskip("mlflow")
    raw = YAML(typ="safe").load(ROOT / "params.yaml")
    raw["data"] |= {"source": "folder", "location": server.at("a.zip"), "shapes": server.at("a.zip")}
    YAML(typ="safe").dump(raw, Path("params.yaml"))
    shutil.copy("params.yaml", "dvc.lock")
    config = read("params.yaml")
    with tracking.run(config, stage="train") as run:
        run.params(flatten(config))
    Path("dvc.lock").unlink()
    kept = list(Path("mlartifacts").rglob("params.yaml"))
    assert len(kept) == 1
    nowhere(kept[0].read_text())
    nowhere()


def test_a_password_may_stand_in_netrc(server: Server, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {USER} password pass/w0rd-Zq7\n")
    (tmp_path / "netrc").chmod(0o600)
    with local(server.at("a.zip", user="")) as path:
        assert path.read_bytes() == server.archive


def test_a_redirection_takes_no_password_along(server: Server) -> None:
    for other in serving():
        server.elsewhere = other.at("a.zip", user="")
        with pytest.raises(BruleError, match="401") as caught, local(server.at("moved.zip")):
            pass
        nowhere(str(caught.value))
        assert server.seen == [f"Basic {SECRETS[-1]}"] and other.seen == [None]


def test_a_new_signature_goes_on_with_what_has_arrived_and_another_file_is_another_file(server: Server) -> None:
    server.cuts = 2
    with pytest.raises(BruleError, match="interrupted"), local(server.at("a.zip") + "&"):
        pass
    (part,) = Path(".resume/downloads").rglob("*.part")
    with local(server.at("a.zip")) as path:
        assert not part.exists() and path.read_bytes() == server.archive
        server.archive = server.archive[::-1]
        with local(server.at("a.zip") + "&") as other:
            assert other.read_bytes() == server.archive
        assert path.read_bytes() == server.archive[::-1]
    assert not list(Path(".resume/downloads").iterdir())


def test_an_experiment_is_no_place_for_a_secret(server: Server) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, name)
    with pytest.raises(BruleError, match=r"^http://127.* holds a password or a signature, .* ~/\.netrc") as caught:
        propose(server.at("a.zip"), None)
    nowhere(str(caught.value))
    assert not server.seen


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pass@word@host:5000/a@b", "https://host:5000/a@b"),
        ("https://me:pa/ss@host/a", "https://host/a"),
        ("at 'https://host/a.zip?sig=x&y=z#f': no", "at 'https://host/a.zip?…': no"),
        ("https://host/a.zip?token=x: is late; ask http://h/?b.", "https://host/a.zip?…: is late; ask http://h/?…."),
        ("is this a/file?", "is this a/file?"),
        ("https://u:12#pw@h/a.zip", "https://h/a.zip"),
        ("https://h/a.zip;token=x: no", "https://h/a.zip;… no"),
        ("'https://h/a.zip#sig=x', b=c", "'https://h/a.zip#…', b=c"),
        ("https://h/a.zip#part; write c=d", "https://h/a.zip#part; write c=d"),
        ("user:pw@host/a.zip: does not exist", "host/a.zip: does not exist"),
        ("http:/user:pw@host/a.zip, //user:pw@host", "http:/host/a.zip, //host"),
        ("http://127.0.0.1:8000/a@b.zip", "http://127.0.0.1:8000/a@b.zip"),
        ("data.location: write to me@here.org, a.csv:12: x", "data.location: write to me@here.org, a.csv:12: x"),
    ],
)
def test_what_is_public(text: str, shown: str) -> None:
    assert public(text) == shown
    assert str(BruleError(text)) == shown
    assert public(shown) == shown
