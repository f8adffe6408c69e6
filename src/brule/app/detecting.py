"""What `brule serve` serves: the page on which a detector is tried, and the API for programs."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from brule.app import server
from brule.app.page import LARGEST_PHOTO, Page, file_name
from brule.app.samples import Sample
from brule.app.server import BYTES, JSON, InTurn
from brule.detector import protocol
from brule.detector.prediction import Box
from brule.errors import BruleError

LARGEST = 32 * 2**20
"""Bytes of a request to /invocations, at most: a photo file of 24 MB in base64."""
LONGEST = 600
"""Seconds in which a request to /invocations is answered, at most: others wait for their turn meanwhile."""
_QUESTION = 2**20  # bytes of a request to /styles, at most
_REFINE = {"1": True, "0": False}  # otherwise the better way


def application(page: Page) -> ASGIApp:
    """The page at / and the API at /invocations."""
    answered = InTurn()

    async def invocations(request: Request) -> Response:
        async with answered.body(request, JSON, LARGEST, "the request", "send fewer or smaller photos") as question:
            answer = await answered(protocol.respond, page.detector, question, LONGEST)
        return Response(answer, media_type=JSON)

    async def ping(_: Request) -> Response:
        return JSONResponse({"landmarks": len(page.detector.scheme.names)})

    async def model(_: Request) -> Response:
        return JSONResponse(page.model())

    async def landmarks(request: Request) -> Response:
        asked = request.query_params
        name, box = file_name(asked.get("name", "")), _box(asked.get("box"))
        refine = _REFINE.get(asked.get("refine", ""))
        async with answered.body(request, BYTES, LARGEST_PHOTO, name, "choose a smaller photo") as data:
            return JSONResponse(await answered(page.landmarks, data, name, box, refine))

    async def styles(request: Request) -> Response:
        mend = "send the landmarks of one photo"
        async with answered.body(request, JSON, _QUESTION, "the request", mend) as question:
            return JSONResponse(await answered(page.styles, *_shape(question)))

    def chosen(request: Request) -> Sample:
        number: int = request.path_params["index"]
        if number >= len(page.samples):
            raise HTTPException(404)
        return page.samples[number]

    async def sample(request: Request) -> Response:
        return Response(chosen(request).data, media_type=BYTES)

    async def thumbnail(request: Request) -> Response:
        return Response(chosen(request).thumbnail, media_type="image/jpeg")

    routes = [
        Route("/invocations", invocations, methods=["POST"]),
        Route("/ping", ping),
        Route("/health", ping),
        Route("/model", model),
        Route("/landmarks", landmarks, methods=["POST"]),
        Route("/styles", styles, methods=["POST"]),
        Route("/samples/{index:int}", sample),
        Route("/thumbnails/{index:int}", thumbnail),
    ]
    return server.application("index.html", routes, "open / in a browser, or POST photos to /invocations")


def _box(text: str | None) -> Box | None:
    try:
        return None if text is None else [float(value) for value in text.split(",")]
    except ValueError:
        raise BruleError(f"the box {str(text)[:60]!r} is not valid; give x,y,width,height in pixels") from None


def _shape(data: bytes) -> tuple[npt.NDArray[np.float64], int]:
    try:
        question = json.loads(data)
        return np.array(question["shape"], np.float64), max(0, int(question.get("turn", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise BruleError('the request is not valid; send {"shape": [[x, y], …], "turn": 0}') from None
