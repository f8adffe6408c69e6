"""`brule serve`: a trained detector that other programs ask over HTTP."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brule.detector import Detector

TITLE = "Answer other programs over HTTP, on this machine alone."
EPILOG = """\
POST photos to /invocations as JSON:
  {"inputs": [{"image": BASE64, "box": [LEFT, TOP, WIDTH, HEIGHT], "refine": true}, ...]}
`image` is an image file in base64; `pixels`, rows of [red, green, blue], may stand in its place. `box` and `refine`
may be left out; they mean what they mean to brule predict. The answer has an entry for each photo, in their order:
  {"predictions": [{"names": [...], "points": [[X, Y], ...], "confidence": [...]}, ...]}
x and y are pixels of the photo as it is displayed, from 0 at the centre of its first one.

A request at fault is answered with status 400 and {"error": SENTENCE}, which names the first photo at fault; a request
of more than 32 MB with 413. GET /ping says whether the server is up. Ctrl-C ends it.

The model is a file, or one of MLflow's registry: models:/brule@champion is the best that `evaluate` has registered.
MLflow's own server speaks the same: mlflow models serve -m models:/brule@champion --env-manager local

examples:
  brule serve
  brule serve --model models:/brule@champion --port 8080"""
USE = """\
printf '{{"inputs": [{{"image": "%s"}}]}}' "$(base64 < photo.jpg | tr -d '\\n')" |
  curl -s --data-binary @- -H 'Content-Type: application/json' {address}/invocations"""
REGISTRY = "models:/"


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    model = "models/detector.safetensors"
    text = "a file, or models:/NAME@ALIAS, models:/NAME/VERSION; default: %(default)s"
    command.add_argument("--model", default=model, metavar="MODEL", help=text)
    text = "0: any that is free; default: %(default)s"
    command.add_argument("--port", type=port, default=5001, metavar="N", help=text)


def run(args: argparse.Namespace) -> bool:
    """Answer until it is ended. Whatever fails is raised: never True."""
    from brule import loopback  # here, since --help need not wait for torch
    from brule.serving.server import application

    with loopback.bind(args.port) as listening:
        detector = _load(args.model)
        address = loopback.address(listening)
        print(f"{address} finds {len(detector.scheme.names)} landmarks; Ctrl-C ends it. Ask it like this:\n")
        print(USE.format(address=address), flush=True)
        loopback.serve(application(detector), listening)
    return False


def _load(model: str) -> "Detector":
    from brule.detector import Detector

    if not model.startswith(REGISTRY):
        return Detector.load(Path(model))
    from brule.tracking.registry import fetch

    with TemporaryDirectory(prefix="brule-") as folder:
        return Detector.load(fetch(model, Path(folder)))


def port(text: str) -> int:
    """A port on the command line, for argparse."""
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port; give a number from 0 to 65535")
    return number
