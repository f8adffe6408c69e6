"""The server on this computer: the page at /, what it asks, and the one guard before both.

It listens on 127.0.0.1, so no other computer reaches it. Web pages of other sites run on this computer too, though:
the guard turns their requests away.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brule import terminal
from brule.errors import BruleError

P = ParamSpec("P")
T = TypeVar("T")

HOST = "127.0.0.1"
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
    uvicorn.Server(
        uvicorn.Config(
            application, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=10
        )
    ).run(sockets=[listening])


class InTurn:
    """`await in_turn(function, …)`: one question at a time. Each uses all cores, and a large photo a lot of memory."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._lock:
            return await run_in_threadpool(function, *args, **kwargs)


def application(index: str, routes: Sequence[Route], mend: str) -> ASGIApp:
    """A page and what it asks. Every refusal and every fault is answered with a status and {"error": SENTENCE}.

    index: the file of the page in static/; mend: what to do instead of asking for something that is not served.
    """

    async def page(_: Request) -> Response:
        return FileResponse(_STATIC / index)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code in (404, 405):
            return _error(f"{request.method} {request.url.path} is not served here; {mend}", error.status_code)
        return _error(error.detail, error.status_code)

    all_routes = [Route("/", page), *routes, Mount("/static", StaticFiles(directory=_STATIC))]
    handlers = {BruleError: _wrong, HTTPException: refused, ClientDisconnect: _gone, Exception: _failed}
    return Guard(Starlette(routes=all_routes, exception_handlers=handlers))


def demand_json(request: Request) -> None:
    """A browser sends JSON to another site only if that site agrees, but sends text and forms without asking."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, f"a request of type {kind!r} is not accepted; send Content-Type: application/json")


async def body(request: Request, name: str, largest: int, mend: str) -> bytes:
    """The body of a request. A body that is too large is read to its end, since a client that is still sending would
    not read the answer, but no more than `largest` bytes of it are kept."""
    data, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= largest:
            data += part
        else:
            data.clear()
    if size > largest:
        raise HTTPException(413, f"{name} is larger than {largest // 2**20} MB; {mend}")
    return bytes(data)


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

        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host.partition(":")[0] not in (HOST, "localhost"):
            refusal = _error(f"there is no host {host!r} here; use the address that the command printed", 400)
            await refusal(scope, receive, sealed)
        elif origin is not None and origin != f"http://{host}":
            refusal = _error(f"{origin}: pages of other sites may not ask here; open http://{host} instead", 403)
            await refusal(scope, receive, sealed)
        else:
            await self.app(scope, receive, sealed)


def _error(sentence: str, status: int) -> Response:
    return JSONResponse({"error": " ".join(sentence.split())}, status)


async def _wrong(_: Request, error: Exception) -> Response:
    return _error(str(error), 400)


async def _gone(_: Request, error: Exception) -> Response:
    """The client has hung up. Nobody reads this answer, and the terminal need not report it."""
    return Response()


async def _failed(_: Request, error: Exception) -> Response:
    """A fault of the program or the machine. The traceback goes to the server's terminal, not to the client."""
    return _error(terminal.explain(error) or "the server failed on this request; its terminal says why", 500)
