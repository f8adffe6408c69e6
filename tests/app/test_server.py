"""`brule serve`: who may ask and who may not, and what happens if it cannot start or something goes wrong."""

import argparse
import asyncio
import io
import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from brule.app import detecting, server
from brule.app.page import Page
from brule.cli import command, serve
from brule.detector import weights
from brule.detector.gan import KIND, Gan
from brule.detector.model import Detector
from brule.errors import BruleError, quoted

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import encoded, same, start

JSON = {"Content_Type": "application/json"}


def question(models: Path) -> bytes:
    photo = (models / "photos" / "a.png").read_bytes()
    return json.dumps({"inputs": [{"image": encoded(photo)}]}).encode()


def test_pages_of_other_sites_may_not_ask(site: Any, models: Path) -> None:
    photo, body = (models / "photos" / "b.jpg").read_bytes(), question(models)
    for path, data, kind in (("landmarks?name=b.jpg", photo, "octet-stream"), ("invocations", body, "json")):
        sent = {"Content_Type": f"application/{kind}"}
        for origin in ("https://elsewhere.example", "null", "http://127.0.0.1:1"):
            status, told, _ = site.ask(path, data, Origin=origin, **sent)
            assert status == 403 and told["error"].startswith(origin)
        for place in ("cross-site", "same-site", "anything"):
            status, told, _ = site.ask(path, data, Sec_Fetch_Site=place, Sec_Fetch_Mode="navigate", **sent)
            assert status == 403 and told["error"].startswith("a request from elsewhere: pages of other sites")
        own = site.address.rstrip("/")
        assert site.ask(path, data, Origin=own, Sec_Fetch_Site="same-origin", **sent)[0] == 200


@pytest.mark.parametrize("path", ["", "model", "ping", "samples/0", "static/main.js", "nothing"])
def test_only_this_computer_s_own_names_are_answered(site: Any, path: str) -> None:
    """A site that points its name at this computer, so that its page may read the answers, still sends that name."""
    port = site.port
    wrong = ("elsewhere.example", f"elsewhere.example:{port}", f"127.0.0.1.elsewhere.example:{port}", "", "localhost")
    for host in (*wrong, "localhost:1", f"[::2]:{port}", f"127.0.0.1:{port}@elsewhere.example", "x" * 3000):
        status, told, _ = site.ask(path, None, Host=host)
        assert status == 400 and f"no host {quoted(host)} here" in told["error"]
    for host in (f"localhost:{port}", f"LocalHost:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"):
        assert site.ask(path, None, Host=host)[0] == (404 if path == "nothing" else 200)


@pytest.mark.parametrize(("port", "expected"), [(80, 404), (8080, 400)])
def test_clients_leave_out_http_s_own_port(port: int, expected: int) -> None:
    """Asked without a socket, since only root may bind port 80."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "GET", "path": "/nothing", "headers": [(b"host", b"localhost")]}
    asyncio.run(server.Guard(server.Starlette())({**scope, "server": ("127.0.0.1", port)}, send, send))  # type: ignore[arg-type]
    assert said[0]["status"] == expected


def test_a_link_on_another_site_opens_the_page_and_nothing_else(site: Any) -> None:
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert site.ask("", **followed)[0] == 200
    assert site.ask("", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert site.ask("model", **followed)[0] == site.ask("samples/0", **followed)[0] == 403
    assert site.ask("model", Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate")[0] == 200


FORM = ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", ""]


@pytest.mark.parametrize("kind", FORM)
def test_what_a_form_could_send_is_taken_for_nothing(site: Any, models: Path, kind: str) -> None:
    for path, taken in {"invocations": "json", "styles": "json", "landmarks": "octet-stream"}.items():
        status, told, _ = site.ask(path, question(models), Content_Type=kind)
        assert status == 415 and told["error"].endswith(f"send Content-Type: application/{taken}")


def test_a_browser_that_shows_an_error_gets_a_page(site: Any) -> None:
    shown = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path, headers, status, words in (
        ("<b>nothing", {}, 404, "GET /&lt;b&gt;nothing is not served here; open / in a browser"),
        ("invocations", {}, 405, "GET /invocations is not served here"),
        ("", {"Host": "<i>.example"}, 400, "there is no host &#x27;&lt;i&gt;.example&#x27; here"),
        ("", {"Origin": "https://elsewhere.example"}, 403, "https://elsewhere.example: pages of other sites may not"),
    ):
        got, page, told = site.ask(path, **shown, **headers)
        assert got == status and told["content-type"].startswith("text/html") and words in page.decode()
        assert b"<script" not in page and b"style=" not in page
        sealed(told)


def halves(site: Any, count: int, sent: bytes) -> list[socket.socket]:
    """Connections that have sent this and no more."""
    clients = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(count)]
    for client in clients:
        client.settimeout(30)
        client.sendall(sent.replace(b"PORT", str(site.port).encode()))
    return clients


def heard(client: socket.socket) -> bytes:
    """All until the server closes."""
    told = b""
    try:
        while part := client.recv(65536):
            told += part
    except ConnectionResetError:
        pass
    return told


BODY = b"POST /invocations HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: 999999\r\n\r\n{"


@pytest.fixture
def hasty(opened: Callable[[Page], Any], page: Page, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server whose limits are small."""
    for name, value in {"SECONDS": 0.5, "CONNECTIONS": 5, "BODIES": 2}.items():
        monkeypatch.setattr(server, name, value)
    return opened(page)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET /ping HTTP/1.1\r\nHost: localhost:PORT\r\nX-Slow: 1\r\n"])
def test_a_request_that_is_never_whole_is_closed(hasty: Any, sent: bytes) -> None:
    start = time.monotonic()
    assert [heard(client) for client in halves(hasty, 3, sent)] == [b""] * 3
    assert 0.4 < time.monotonic() - start < 20
    assert hasty.ask("ping")[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_a_broken_body_is_refused_whatever_the_method(site: Any, method: str, caplog: pytest.LogCaptureFixture) -> None:
    sent = f"{method} / HTTP/1.1\r\nHost: localhost:PORT\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
    (told,) = (heard(client) for client in halves(site, 1, sent.encode()))
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and bool(body) == (method == "POST")
    assert "Fatal error" not in caplog.text


@pytest.mark.parametrize("sent", [b"no HTTP\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"])
def test_what_is_no_http_is_refused_like_everything_else(site: Any, sent: bytes) -> None:
    (told,) = (heard(client) for client in halves(site, 1, sent))
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"content-security-policy" in head.lower()
    assert b"application/json" in head and "not valid HTTP" in json.loads(body)["error"]


def test_a_body_that_trickles_in_is_refused_after_a_time(hasty: Any) -> None:
    (client,) = halves(hasty, 1, BODY)
    start = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() - start < 20:
            client.sendall(b" ")
            time.sleep(0.05)
    assert time.monotonic() - start > 0.4
    told = heard(halves(hasty, 1, BODY)[0])
    assert told.startswith(b"HTTP/1.1 408 ") and b"the request was not whole within 0.5 seconds" in told
    assert b"connection: close" in told.lower()


def test_half_sent_bodies_cannot_pile_up(hasty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, reading, most = server._read, 0, 0

    async def counted(*args: Any) -> Any:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        try:
            return await real(*args)
        finally:
            reading -= 1

    monkeypatch.setattr(server, "_read", counted)
    clients = halves(hasty, 5, BODY)
    late = heard(halves(hasty, 1, b"GET /ping HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n")[0])
    assert late == b"", "one connection too many"
    told = [heard(client) for client in clients]
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in told) and most == 2
    assert hasty.ask("ping")[0] == 200


def test_a_request_that_would_take_too_long_makes_room_for_others(
    site: Any, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detecting, "LONGEST", -1)
    status, told, _ = site.ask("invocations", question(models), **JSON)
    assert status == 400 and told["error"] == "inputs[0]: the time for one request is over; send fewer photos at once"


def test_json_is_taken_with_a_charset_and_without_a_type(site: Any, page: Page, models: Path) -> None:
    body, found = question(models), page.detector.predict(models / "photos" / "a.png")
    status, reply, _ = site.ask("invocations", body, Content_Type="Application/JSON; charset=utf-8")
    assert status == 200 and same(reply["predictions"][0], found)
    port = site.port
    with socket.create_connection(("127.0.0.1", port)) as client:  # urllib would add a type of its own
        head = f"POST /invocations HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        told = b"".join(iter(lambda: client.recv(65536), b""))
    assert told.startswith(b"HTTP/1.1 200") and same(
        json.loads(told.partition(b"\r\n\r\n")[2])["predictions"][0], found
    )


PAGE = ["", "static/main.js", "static/look.css", "static/icon.svg", "model", "samples/0", "thumbnails/1"]
STATUS = {**dict.fromkeys([*PAGE, "ping"], 200), "none": 404, "samples/9": 404, "invocations": 405}


@pytest.mark.parametrize("path", STATUS)
def test_every_answer_carries_the_policy(site: Any, path: str) -> None:
    status, _, headers = site.ask(path)
    assert status == STATUS[path]
    sealed(headers)


def sealed(headers: dict[str, str]) -> None:
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cross-origin-resource-policy"] == "same-origin"


def test_refusals_carry_the_policy_too(site: Any) -> None:
    for headers in ({"Host": "elsewhere.example"}, {"Origin": "null"}, {"Content_Type": "text/plain"}, {}):
        status, told, sent = site.ask("invocations", b"[]", **headers)
        assert 400 <= status < 500 and told.keys() == {"error"}
        sealed(sent)


def test_samples_are_the_files_themselves(site: Any, models: Path) -> None:
    assert site.ask("samples/0")[1] == (models / "photos" / "a.png").read_bytes()
    assert Image.open(io.BytesIO(site.ask("thumbnails/0")[1])).size == (120, 90)
    for path in ("samples/2", "thumbnails/2", "../pyproject.toml", "static/../page.py", "samples/x"):
        status, told, _ = site.ask(path)
        assert status == 404 and "is not served here" in told["error"]


def test_a_photo_that_is_too_large_is_refused(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "LARGEST_PHOTO", 2**20)
    status, told, _ = site.ask("landmarks?name=x.jpg", bytes(2**20 + 1))
    assert (status, told["error"]) == (413, "x.jpg is larger than 1 MB; choose a smaller photo")
    assert site.ask("landmarks?name=x.jpg", bytes(2**20))[0] == 400, "a photo of 1 MB is read, and is not one"


def test_a_fault_of_the_program_is_one_sentence_as_well(
    opened: Callable[[Page], Any], page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Page) -> dict[str, Any]:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Page, "model", fail)
    status, told, headers = opened(page).ask("model")
    assert (status, told["error"]) == (500, "the server failed on this request; its terminal says why")
    sealed(headers)


def test_page_and_api_are_answered_one_at_a_time(
    opened: Callable[[Page], Any], page: Page, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, running, most = Detector.predict, 0, 0

    def slow(self: Detector, *args: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.1)
        running -= 1
        return real(self, *args)

    monkeypatch.setattr(Detector, "predict", slow)
    site, photo, body = opened(page), (models / "photos" / "a.png").read_bytes(), question(models)
    asks = [lambda: site.ask("landmarks?name=a.png", photo), lambda: site.ask("invocations", body, **JSON)] * 3
    with ThreadPoolExecutor(6) as pool:
        assert [status for status, *_ in pool.map(lambda ask: ask(), asks)] == [200] * 6
    assert most == 1


def test_demo_is_the_same_command_with_page_and_api(models: Path) -> None:
    running = start("--model", "detector.safetensors", "--samples", "photos", cwd=models, name="demo")
    try:
        status, model = running.ask("/model", method="GET")
        assert status == 200 and model["styles"] and model["samples"] == ["a.png", "b.jpg"]
        assert running.ask(body=json.loads(question(models)))[0] == 200
        assert running.end(signal.SIGINT) == (130, "")
    finally:
        running.process.kill()


def test_the_gan_beside_the_model_serves_the_page_if_it_can(
    page: Page, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def chosen(*words: str) -> Gan | None:
        command = argparse.ArgumentParser()
        serve.arguments(command)
        return serve._gan(
            command.parse_args(["--model", str(tmp_path / "detector.safetensors"), *words]), page.detector
        )

    path = tmp_path / "gan.safetensors"
    assert chosen() is None and capsys.readouterr().err == ""
    assert chosen("--gan", str(models / "gan.safetensors")) is not None
    header, tensors = weights.load(models / "gan.safetensors", KIND)
    weights.save(path, KIND, header, tensors)
    assert chosen() is not None
    weights.save(path, KIND, {**header, "iterations": 0}, tensors)
    assert chosen() is None and capsys.readouterr().err == "", "one that was never trained draws nothing"
    weights.save(path, KIND, {**header, "image_size": 32}, tensors)
    assert chosen() is None
    told = capsys.readouterr().err
    assert told.startswith(f"{path}: it draws 4 landmarks at 32 px") and told.endswith("; the page does without it\n")
    with pytest.raises(BruleError, match=r"gan\.safetensors: it draws 4 landmarks at 32 px"):
        chosen("--gan", str(path))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`told("--port", "x")` → exit code and stderr of a `brule serve` that cannot start."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["brule", "serve", *words])
        with pytest.raises(SystemExit) as exit_:
            command.main()
        shown = capsys.readouterr()
        assert shown.out == ""
        return int(exit_.value.code or 0), shown.err

    return call


def test_what_cannot_be_served_is_told_in_one_line(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., tuple[int, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    model = models / "detector.safetensors"
    taken = server.bind(0)
    port = str(taken.getsockname()[1])
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:99])
    for words, sentence in {
        ("--model", str(model), "--port", port): f"port {port} is taken by another program; choose another with --port",
        ("--model", "cut.safetensors", "--port", "0"): "cut.safetensors: not a whole safetensors file",
        ("--port", "0"): "models/detector.safetensors: there is no such file",
        ("--model", "models:/brule@champion", "--port", "0"): "models:/brule@champion: there is no MLflow store",
        ("--model", str(model), "--gan", "no.safetensors", "--port", "0"): "no.safetensors: there is no such file",
        ("--model", str(model), "--samples", ".", "--port", "0"): ".: there are no photos in this folder; give",
    }.items():
        code, line = told(*words)
        assert code == 1 and line.startswith(sentence) and line.count("\n") == 1
    taken.close()
    assert [path.name for path in tmp_path.iterdir()] == ["cut.safetensors"]


@pytest.mark.parametrize("port", ["x", "-1", "65536", "5e3"])
def test_a_port_that_is_not_one_is_refused(port: str, told: Callable[..., tuple[int, str]]) -> None:
    code, line = told(f"--port={port}")
    assert code == 2 and f"{port} is not a port; give a number" in line
