"""The server on this computer: the page at /, the API at /invocations, and the one guard before both.

It listens on 127.0.0.1, so no other computer reaches it. Web pages of other sites run on this computer too, though:
the guard turns their requests away.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
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
from brule.app.page import LARGEST_PHOTO, Page, file_name
from brule.app.samples import Sample
from brule.detector import protocol
from brule.detector.prediction import Box
from brule.errors import BruleError

P = ParamSpec("P")
T = TypeVar("T")

HOST = "127.0.0.1"
LARGEST = 32 * 2**20
"""Bytes of a request to /invocations, at most: a photo file of 24 MB in base64."""
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
_QUESTION = 2**20  # bytes of a request to /styles, at most
_REFINE = {"1": True, "0": False}  # otherwise the better way
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


def application(page: Page) -> ASGIApp:
    """The page and the API. Every refusal and every fault is answered with a status and {"error": SENTENCE}."""
    one_by_one = asyncio.Lock()

    async def answered(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One question at a time: each uses all cores, and a large photo a lot of memory."""
        async with one_by_one:
            return await run_in_threadpool(function, *args, **kwargs)

    async def invocations(request: Request) -> Response:
        _demand_json(request)
        body = await _body(request, "the request", LARGEST, "send fewer or smaller photos")
        answer = await answered(protocol.respond, page.detector, body)
        return Response(answer, media_type="application/json")

    async def ping(_: Request) -> Response:
        return JSONResponse({"landmarks": len(page.detector.scheme.names)})

    async def index(_: Request) -> Response:
        return FileResponse(_STATIC / "index.html")

    async def model(_: Request) -> Response:
        return JSONResponse(page.model())

    async def landmarks(request: Request) -> Response:
        asked = request.query_params
        name, box = file_name(asked.get("name", "")), _box(asked.get("box"))
        data = await _body(request, name, LARGEST_PHOTO, "choose a smaller photo")
        return JSONResponse(await answered(page.landmarks, data, name, box, _REFINE.get(asked.get("refine", ""))))

    async def styles(request: Request) -> Response:
        shape, turn = _shape(await _body(request, "the request", _QUESTION, "send the landmarks of one photo"))
        return JSONResponse(await answered(page.styles, shape, turn))

    def chosen(request: Request) -> Sample:
        number: int = request.path_params["index"]
        if number >= len(page.samples):
            raise HTTPException(404)
        return page.samples[number]

    async def sample(request: Request) -> Response:
        return Response(chosen(request).data, media_type="application/octet-stream")

    async def thumbnail(request: Request) -> Response:
        return Response(chosen(request).thumbnail, media_type="image/jpeg")

    routes = [
        Route("/invocations", invocations, methods=["POST"]),
        Route("/ping", ping),
        Route("/health", ping),
        Route("/", index),
        Route("/model", model),
        Route("/landmarks", landmarks, methods=["POST"]),
        Route("/styles", styles, methods=["POST"]),
        Route("/samples/{index:int}", sample),
        Route("/thumbnails/{index:int}", thumbnail),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    handlers = {BruleError: _wrong, HTTPException: _refused, ClientDisconnect: _gone, Exception: _failed}
    return Guard(Starlette(routes=routes, exception_handlers=handlers))


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
            refusal = _error(f"there is no host {host!r} here; use the address that `brule serve` printed", 400)
            await refusal(scope, receive, sealed)
        elif origin is not None and origin != f"http://{host}":
            refusal = _error(f"{origin}: pages of other sites may not ask here; open http://{host} instead", 403)
            await refusal(scope, receive, sealed)
        else:
            await self.app(scope, receive, sealed)


def _demand_json(request: Request) -> None:
    """A browser sends JSON to another site only if that site agrees, but sends text and forms without asking."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, f"a request of type {kind!r} is not accepted; send Content-Type: application/json")


async def _body(request: Request, name: str, largest: int, mend: str) -> bytes:
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


def _box(text: str | None) -> Box | None:
    try:
        return None if text is None else [float(value) for value in text.split(",")]
    except ValueError:
        raise BruleError(f"the box {text!r} is not valid; give x,y,width,height in pixels") from None


def _shape(data: bytes) -> tuple[npt.NDArray[np.float64], int]:
    try:
        question = json.loads(data)
        return np.array(question["shape"], np.float64), max(0, int(question.get("turn", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise BruleError('the request is not valid; send {"shape": [[x, y], …], "turn": 0}') from None


def _error(sentence: str, status: int) -> Response:
    return JSONResponse({"error": " ".join(sentence.split())}, status)


async def _wrong(_: Request, error: Exception) -> Response:
    return _error(str(error), 400)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405):
        what = f"{request.method} {request.url.path} is not served here"
        return _error(f"{what}; open / in a browser, or POST photos to /invocations", error.status_code)
    return _error(error.detail, error.status_code)


async def _gone(_: Request, error: Exception) -> Response:
    """The client has hung up. Nobody reads this answer, and the terminal need not report it."""
    return Response()


async def _failed(_: Request, error: Exception) -> Response:
    """A fault of the program or the machine. The traceback goes to the server's terminal, not to the client."""
    return _error(terminal.explain(error) or "the server failed on this request; its terminal says why", 500)
