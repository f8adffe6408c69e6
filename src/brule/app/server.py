"""The server on this computer: the page at /, what it asks, and the one guard before both.

It listens on 127.0.0.1, so no other computer reaches it. Web pages of other sites run on this computer too, though:
the guard turns their requests away. Nobody can keep it busy by sending slowly: connections, the bodies of requests and
the time for both are limited.
"""

from __future__ import annotations

import asyncio
import errno
import html
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from brule import terminal
from brule.errors import BruleError, brief, quoted

P = ParamSpec("P")
T = TypeVar("T")

HOST = "127.0.0.1"
NAMES = (HOST, "localhost", "[::1]")
"""What a browser on this computer may call it."""
SECONDS = 60
"""How long a client may take to send a request. A connection is used for so long, too, and then closed."""
CONNECTIONS = 64
"""At once; further ones are closed."""
BODIES = 8
"""Requests whose bodies are in memory at once; further ones wait, unread."""
JSON, BYTES = "application/json", "application/octet-stream"
"""The types of bodies. A browser sends either to another site only if that site agrees; a form can send neither."""
_OPEN = {None, "same-origin", "none"}  # Sec-Fetch-Site of the page itself, and of an address that somebody typed
_FAULT = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{status}</title>
<link rel="stylesheet" href="/static/look.css">
<main>
<h1>This did not work</h1>
<p>{sentence}</p>
<p><a href="/">Back to the page</a></p>
</main>
</html>
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy: the browser itself refuses to load anything from elsewhere."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_NO_HTTP = json.dumps({"error": "the request is not valid HTTP; use a browser, or a library that speaks HTTP"}).encode()
_STATIC = Path(__file__).with_name("static")
_REASONS = {errno.EADDRINUSE: "is taken by another program", errno.EACCES: "is reserved for the system"}


def bind(port: int) -> socket.socket:
    """A socket that listens on this computer alone; port 0 takes any free port.

    Raises BruleError if the port is taken or reserved.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        mend = "choose another with --port, or 0 for any free port"
        raise BruleError(f"port {port} {_REASONS[error.errno]}; {mend}") from None


def address(listening: socket.socket) -> str:
    """Where a socket listens, such as http://127.0.0.1:5001."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


def serve(application: ASGIApp, listening: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM. Requests in progress then have ten seconds to finish."""
    uvicorn.Server(configuration(application, log_level="warning")).run(sockets=[listening])


def configuration(application: ASGIApp, log_level: str) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        application,
        http=Impatient,
        ws="none",
        log_level=log_level,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=10,
    )


class Impatient(H11Protocol):
    """A connection that ends after SECONDS: at once if no request is complete, else after the answer to it.

    uvicorn itself limits how long a connection may be silent only after its first answer.
    """

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Refuse one too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._end = self.loop.call_later(SECONDS, self.shutdown)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP like any other refusal. A request that began as one gets no second answer: uvicorn
        itself would give it."""
        body = _NO_HTTP
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            if self.cycle.response_started:
                self.transport.close()
                return
            if self.cycle.scope["method"] == "HEAD":
                body = b""  # the answer to it has none
        heads = {**_HEADERS, "Content-Type": JSON, "Content-Length": str(len(body)), "Connection": "close"}
        lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in heads.items()), "", ""]
        self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to end."""
        if self._end:
            self._end.cancel()
        super().connection_lost(exc)


class InTurn:
    """`await in_turn(function, …)`: one question at a time. Each uses all cores, and a large photo a lot of memory."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._room = asyncio.Semaphore(BODIES)

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._lock:
            return await run_in_threadpool(function, *args, **kwargs)

    @asynccontextmanager
    async def body(self, request: Request, kind: str, largest: int, name: str, mend: str) -> AsyncIterator[bytes]:
        """The body of a request, as long as it is needed; name and mend: for the sentence if it is too large.

        Raises HTTPException unless it has this kind and arrives within SECONDS.
        """
        told = request.headers.get("content-type", kind).partition(";")[0].strip().lower()
        if told != kind:
            raise HTTPException(415, f"a request of type {quoted(told)} is not accepted; send Content-Type: {kind}")
        async with self._room:
            try:
                async with asyncio.timeout(SECONDS):
                    data = await _read(request, largest)
            except TimeoutError:
                sentence = f"the request was not whole within {SECONDS} seconds; send it faster, or send less"
                raise HTTPException(408, sentence, {"Connection": "close"}) from None
            if data is None:
                raise HTTPException(413, f"{name} is larger than {largest // 2**20} MB; {mend}")
            yield data


async def _read(request: Request, largest: int) -> bytes | None:
    """A body; None if it is too large. Such a one is read to its end, since a client that is still sending would not
    read the answer, but no more than `largest` bytes of it are kept."""
    data, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= largest:
            data += part
        else:
            data.clear()
    return bytes(data) if size <= largest else None


def application(index: str, routes: Sequence[Route], mend: str) -> ASGIApp:
    """A page and what it asks. Every refusal and every fault is answered with a status and {"error": SENTENCE}, or,
    where a browser wants to show it, as a page.

    index: the file of the page in static/; mend: what to do instead of asking for something that is not served.
    """

    async def page(_: Request) -> Response:
        return FileResponse(_STATIC / index)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentence = error.detail
        if error.status_code in (404, 405):
            sentence = f"{request.method} {brief(request.url.path)} is not served here; {mend}"
        return _error(request.headers, sentence, error.status_code, error.headers)

    all_routes = [Route("/", page), *routes, Mount("/static", StaticFiles(directory=_STATIC))]
    handlers = {BruleError: _wrong, HTTPException: refused, ClientDisconnect: _gone, Exception: _failed}
    return Guard(Starlette(routes=all_routes, exception_handlers=handlers))


class Guard:
    """Refuses requests for another host or from another site's page, and adds the security headers to every answer.

    Without the check of Host another site could point a name of its own at this computer and read the answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await (_refusal(scope) or self.app)(scope, receive, sealed)


def _refusal(scope: Scope) -> Response | None:
    """The answer to a request that is not for this server, or that a page of another site has sent; None to others."""
    headers, port = Headers(scope=scope), scope["server"][1]
    host, origin, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site")
    bare = NAMES if port == 80 else ()  # clients leave out HTTP's own port
    if host.lower() not in {*bare, *(f"{name}:{port}" for name in NAMES)}:
        sentence = f"there is no host {quoted(host)} here; use the address that the command printed"
        return _error(headers, sentence, 400)
    # Whoever follows a link to the page has left the other site, which sees nothing of it.
    linked = headers.get("sec-fetch-mode") == "navigate" and (scope["method"], scope["path"]) == ("GET", "/")
    if origin not in (None, f"http://{host}") or (site not in _OPEN and not linked):
        asking = brief(origin) if origin else "a request from elsewhere"
        return _error(headers, f"{asking}: pages of other sites may not ask here; open http://{host} instead", 403)
    return None


def _error(headers: Headers, sentence: str, status: int, more: Mapping[str, str] | None = None) -> Response:
    """One sentence: as JSON, or as a page if a browser wants to show it."""
    sentence = " ".join(sentence.split())
    if "text/html" in headers.get("accept", ""):
        return HTMLResponse(_FAULT.format(status=status, sentence=html.escape(sentence)), status, more)
    return JSONResponse({"error": sentence}, status, more)


async def _wrong(request: Request, error: Exception) -> Response:
    return _error(request.headers, str(error), 400)


async def _gone(_: Request, error: Exception) -> Response:
    """The client has hung up. Nobody reads this answer, and the terminal need not report it."""
    return Response()


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of the program or the machine. The traceback goes to the server's terminal, not to the client."""
    sentence = terminal.explain(error) or "the server failed on this request; its terminal says why"
    return _error(request.headers, sentence, 500)
