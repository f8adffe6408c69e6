"""What `brule shapes` serves: the page on which somebody clicks shapes."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from brule.app import server
from brule.app.server import JSON, InTurn
from brule.app.sheet import Photo, Sheet, StaleError

LARGEST = 16 * 2**20
"""Bytes of what the page saves, at most: 500 points on 800 photos."""


def application(sheet: Sheet) -> ASGIApp:
    """The page at /. It gets its photos by their number, and saves to the sheet's one file."""
    answered = InTurn()

    async def read(_: Request) -> Response:
        return JSONResponse(await answered(sheet.told))

    async def save(request: Request) -> Response:
        async with answered.body(request, JSON, LARGEST, "the request", "click fewer points or photos") as data:
            try:
                return JSONResponse(await answered(sheet.save, data))
            except StaleError as error:
                raise HTTPException(409, str(error)) from None

    def chosen(request: Request) -> tuple[int, Photo]:
        index: int = request.path_params["index"]
        if index >= len(sheet.photos) or sheet.photos[index].path is None:
            raise HTTPException(404)
        return index, sheet.photos[index]

    async def photo(request: Request) -> Response:
        return Response(await answered(sheet.picture, chosen(request)[0]), media_type="image/jpeg")

    async def thumbnail(request: Request) -> Response:
        return Response(chosen(request)[1].thumbnail, media_type="image/jpeg")

    routes = [
        Route("/sheet", read),
        Route("/sheet", save, methods=["POST"]),
        Route("/photos/{index:int}", photo),
        Route("/thumbnails/{index:int}", thumbnail),
    ]
    return server.application("shapes.html", routes, "open / in a browser")
