"""Whatever may reach the server's port: it answers, hangs up, or waits; it neither fails nor ends."""

import errno
import json
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

from mangled import FILES
from servers import Server, encoded, start, write_detector

from campaign.harms import hurt, hurt_tree
from campaign.pipeline import WORK
from campaign.verdicts import expect

METHODS = [
    "GET",
    "POST",
    "POST",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "BREW",
    "P O",
    "",
]
PATHS = [
    *(
        "/",
        "/invocations",
        "/invocations",
        "/landmarks?name=a.png",
        "/ping",
        "/model",
        "/samples/0",
        "/samples/-1",
        "/thumbnails/9",
    ),
    *(
        "/static/main.js",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/%00",
        "//",
        "/%ff",
        "/landmarks?name=../../x",
    ),
    *(
        "*",
        "http://elsewhere.example/",
        "/samples/" + "9" * 400,
        "/" + "a" * 9000,
        "/landmarks?" + "&" * 500,
        "/samples/0?seed=x",
    ),
]
HOSTS = [
    "127.0.0.1",
    "localhost",
    "localhost:1",
    "elsewhere.example",
    "",
    "127.0.0.1.x",
    "[::1]",
    "localhost, x",
    "\xff",
    "a" * 5000,
]
ORIGINS = ["null", "https://elsewhere.example", "http://127.0.0.1", "", "file://"]
SERVED = [
    *(("POST", "/invocations", "application/json"),) * 4,
    *(("POST", "/landmarks?name=a.png", "application/octet-stream"),) * 3,
    *(("POST", path, "application/octet-stream") for path in ("/landmarks", "/landmarks?box=1,2,30,40&refine=0")),
    *(("POST", "/styles", "application/json"),),
    *(("GET", path, None) for path in ("/", "/model", "/samples/0", "/samples/77", "/thumbnails/0", "/static/main.js")),
]
TYPES = [
    None,
    "application/json",
    "application/json",
    "application/octet-stream",
    "text/plain",
    "multipart/form-data; boundary=x",
    "image/png",
    "application/json; charset=utf-7",
]
EXTRA = [
    *(
        "Expect: 100-continue",
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
        "Content-Length: -1",
        "Range: bytes=0-1",
    ),
    *(
        "Upgrade: websocket",
        "Connection: upgrade",
        "X-A: " + "b" * 9000,
        "Content-Encoding: gzip",
        "Bad header",
        ": none",
    ),
]
HUNG_UP = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}
"""What a client meets when the server has closed the connection, which it may do before it has read everything."""


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="asked-", dir=os.environ[WORK]))
    write_detector(folder / "detector.safetensors")
    return folder


@cache
def _server(number: int) -> Server:
    running = start("--model", "detector.safetensors", cwd=_folder(), TMPDIR=str(_folder()))  # not the case's
    assert running.process.stderr is not None
    os.set_blocking(running.process.stderr.fileno(), False)
    return running


_STARTED = [0]


def attempt(rng: random.Random, folder: Path) -> None:
    """One request of any kind, whole or half-sent; afterwards the server answers as before, and has said nothing."""
    server = _server(_STARTED[0])
    try:
        _ask(server, rng)
        status, told = server.ask("/ping", method="GET")
        expect(status == 200, f"it no longer answers /ping: {status} {told}")
        expect(server.process.poll() is None, "the server has ended")
    except OSError as error:
        expect(False, f"it no longer answers: {error}")
    finally:
        said = _said(server)
        if server.process.poll() is not None:
            _STARTED[0] += 1
    expect("Traceback" not in said, f"its terminal shows a traceback: {said.strip().splitlines()[-1:]}")


def _said(server: Server) -> str:
    """What its terminal has shown since the last request."""
    assert server.process.stderr is not None
    try:
        return os.read(server.process.stderr.fileno(), 2**20).decode(errors="replace")
    except BlockingIOError:
        return ""


def _ask(server: Server, rng: random.Random) -> None:
    port = int(server.address.rpartition(":")[2])
    sound = rng.random() < 0.6
    message = _sound(port, rng) if sound else _wild(port, rng)
    if not sound and rng.random() < 0.2:
        message = hurt(message, rng)
    half = rng.random() < 0.1
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        answered = b""
        try:
            client.sendall(message[: rng.randrange(len(message) + 1)] if half else message)
            if half and rng.random() < 0.5:
                return
            if half or not sound:  # else the server would wait for the rest; it may hang up instead of answering
                client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                answered += part
        except OSError as error:
            if error.errno not in HUNG_UP:
                raise
            return
    _judge(answered)


def _sound(port: int, rng: random.Random) -> bytes:
    """A request that the guard lets through; what it asks may be anything."""
    method, path, kind = rng.choice(SERVED)
    body = b"" if method == "GET" else _file(rng) if kind == "application/octet-stream" else _body(rng)
    head = [f"{method} {path} HTTP/1.1", f"Host: localhost:{port}", f"Content-Length: {len(body)}"]
    head += [f"Content-Type: {kind}"] if kind else []
    return _message(head, body)


def _wild(port: int, rng: random.Random) -> bytes:
    """Anything that may reach a port."""
    body = _body(rng)
    head = [f"{rng.choice(METHODS)} {rng.choice(PATHS)} {rng.choice(('HTTP/1.1',) * 8 + ('HTTP/1.0', 'HTTP/9', ''))}"]
    if rng.random() < 0.95:
        head.append(f"Host: {rng.choice(HOSTS) if rng.random() < 0.3 else f'localhost:{port}'}")
    if rng.random() < 0.3:
        head.append(f"Origin: {rng.choice(ORIGINS)}")
    if (kind := rng.choice(TYPES)) is not None:
        head.append(f"Content-Type: {kind}")
    if rng.random() < 0.9:
        head.append(f"Content-Length: {len(body)}")
    head += rng.sample(EXTRA, rng.choice((0, 0, 0, 0, 1, 2)))
    return _message(head, body)


def _message(head: list[str], body: bytes) -> bytes:
    return "\r\n".join([*head, "Connection: close", "", ""]).encode("utf-8", "replace") + body


def _file(rng: random.Random) -> bytes:
    data = FILES[rng.choice(list(FILES))]
    return hurt(data, rng) if rng.random() < 0.5 else data


def _body(rng: random.Random) -> bytes:
    name = rng.choice(list(FILES))
    asked = {"inputs": [{"image": encoded(FILES[name])}] * rng.choice((1, 1, 2))}
    match rng.randrange(6):
        case 0:
            return FILES[name]
        case 1:
            return b""
        case 2:
            return hurt(json.dumps(asked).encode(), rng)
        case 3:
            return rng.choice((b"[" * 99_999, b'{"inputs":' * 5000, b"null", b'"\\ud800"', b"1" * 99_999))
        case _:
            return json.dumps(hurt_tree(asked, rng)).encode()


def _judge(answered: bytes) -> None:
    """A status below 500, and with a refusal one sentence."""
    if not answered:
        return
    head, _, body = answered.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    expect(len(words) > 1 and words[1].isdigit(), f"no HTTP: {head[:80]!r}")
    status = int(words[1])
    if status == 100:
        return _judge(body)
    expect(status < 500, f"status {status}: {body[:200]!r}")
    expect(b"Traceback" not in body, "it answers with a traceback")
    if status >= 400 and b"application/json" in head and body:
        told, _ = json.JSONDecoder().raw_decode(body.decode())  # of two answers the first
        expect(told.keys() == {"error"} and "\n" not in told["error"], f"refuses with {body[:200]!r}")
