"""The page's server: a few addresses on 127.0.0.1, each of which answers JSON, a file of the page, or one sentence."""

from __future__ import annotations

import json

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from brule import terminal as entry
from brule.app import uploads
from brule.app.answering import Guide
from brule.app.guard import Guard
from brule.app.loopback import HOST
from brule.app.painting import Units
from brule.detector.prediction import Box
from brule.errors import BruleError

_QUESTION = 2**20  # bytes at most of one that is no photo


def application(guide: Guide) -> Starlette:
    """What answers the page's questions. A BruleError becomes {"error": its sentence} and the status 400 or 413."""

    async def model(_: Request) -> Response:
        return JSONResponse(guide.model())

    async def landmarks(request: Request) -> Response:
        asked = request.query_params
        name, box = uploads.named(asked.get("name", "")), _box(asked.get("box"))
        data = await _body(request, name, uploads.LARGEST)
        return JSONResponse(await run_in_threadpool(guide.landmarks, data, name, box, asked.get("refine") == "1"))

    async def styles(request: Request) -> Response:
        shape, turn = _shape(await _body(request, "the question", _QUESTION))
        return JSONResponse(await run_in_threadpool(guide.styles, shape, turn))

    async def sample(request: Request) -> Response:
        index = request.path_params["index"]
        if index >= len(guide.samples):
            raise HTTPException(404)
        return Response(guide.samples[index].data, media_type="application/octet-stream")

    async def thumbnail(request: Request) -> Response:
        index = request.path_params["index"]
        if index >= len(guide.samples):
            raise HTTPException(404)
        return Response(guide.samples[index].thumbnail, media_type="image/jpeg")

    return Starlette(
        routes=[
            Route("/model", model),
            Route("/landmarks", landmarks, methods=["POST"]),
            Route("/styles", styles, methods=["POST"]),
            Route("/samples/{index:int}", sample),
            Route("/thumbnails/{index:int}", thumbnail),
            Mount("/", StaticFiles(packages=[("brule.app", "static")], html=True)),
        ],
        middleware=[Middleware(Guard), Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
        exception_handlers={BruleError: _sentence, HTTPException: _refused, Exception: _fault},
    )


async def _body(request: Request, name: str, largest: int) -> bytes:
    """The bytes that were sent; no more than `largest` are ever held."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > largest:
            raise TooLargeError(f"{name}: has more than {largest // 2**20} MB; choose a smaller photo")
    return bytes(data)


def _box(text: str | None) -> Box | None:
    try:
        return None if text is None else [float(value) for value in text.split(",")]
    except ValueError:
        raise BruleError(f"the box {text!r} is none; give x,y,width,height in pixels") from None


def _shape(data: bytes) -> tuple[Units, int]:
    try:
        question = json.loads(data)
        return np.array(question["shape"], np.float64), max(0, int(question.get("turn", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise BruleError('the question is none; send {"shape": [[x, y], …], "turn": 0}') from None


class TooLargeError(BruleError):
    """More bytes than are taken."""


async def _sentence(_: Request, error: Exception) -> Response:
    return _told(str(error), 413 if isinstance(error, TooLargeError) else 400)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(f"{error.detail}: nothing is answered at this address", error.status_code)


async def _fault(_: Request, error: Exception) -> Response:
    """The error itself goes to the terminal."""
    return _told(entry.explain(error) or "something went wrong here; the terminal says more", 500)


def _told(sentence: str, status: int) -> Response:
    return JSONResponse({"error": " ".join(sentence.split())}, status)
