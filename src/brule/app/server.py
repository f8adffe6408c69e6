"""A detector behind HTTP on this machine alone: POST /invocations as MLflow's servers have it, GET /ping."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from brule.detector.model import Detector
from brule.detector.protocol import answer, parse, reply
from brule.errors import BruleError

LARGEST = 32 * 2**20
"""Bytes of a request: a photo file of 24 MB in base64."""


def application(detector: Detector) -> Starlette:
    """The app. Whatever was asked, the answer is JSON: predictions, or {"error": one sentence} and a status."""
    one_by_one = asyncio.Lock()  # a detector takes all cores anyway, and large photos much memory

    async def invocations(request: Request) -> Response:
        body = await _body(request)
        try:
            async with one_by_one:
                answered = await asyncio.to_thread(lambda: reply(answer(detector, parse(body))))
        except BruleError as error:
            return _refused(400, str(error))
        return Response(answered, media_type="application/json")

    async def ping(request: Request) -> Response:
        return JSONResponse({"landmarks": len(detector.scheme.names)})

    routes = [Route("/invocations", invocations, methods=["POST"])]
    routes += [Route(path, ping, methods=["GET"]) for path in ("/ping", "/health")]
    told = {HTTPException: _wrong, ClientDisconnect: _gone, Exception: _failed}
    return Starlette(routes=routes, exception_handlers=told)


async def _body(request: Request) -> bytes:
    """All of the request, or none of it where it is too large: who is still sending would not read our answer."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        chunks.append(chunk if size <= LARGEST else b"")
    if size > LARGEST:
        raise HTTPException(413, f"the request has {size} bytes, more than {LARGEST}; send fewer or smaller photos")
    return b"".join(chunks)


def _refused(status: int, sentence: str) -> Response:
    return JSONResponse({"error": " ".join(sentence.split())}, status)


async def _wrong(request: Request, error: Exception) -> Response:
    """What the router refuses, and a request that is too large."""
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405):
        what = f"{request.method} {request.url.path} is not answered here"
        return _refused(error.status_code, f"{what}; POST questions to /invocations, or GET /ping")
    return _refused(error.status_code, error.detail)


async def _gone(request: Request, error: Exception) -> Response:
    """Who asked has hung up: nobody reads this, and the terminal need not hear of it."""
    return Response()


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of the program or the machine. Its traceback goes to the server's terminal, not to who asked."""
    return _refused(500, "the server failed at this request; its terminal says why")
