"""`brule serve`, also called `brule demo`: a detector on this computer, as a page and as an API."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from brule import cli
from brule.errors import BruleError

if TYPE_CHECKING:
    from brule.detector.gan import Gan
    from brule.detector.model import Detector

TITLE = "Serve the detector on this computer: a page for people, an API for programs."
EPILOG = """\
`brule demo` is another name for this command. It listens on 127.0.0.1 only, so no other computer can reach it, and
web pages of other sites are refused. Nothing is loaded from elsewhere, and no photo is kept. Ctrl-C stops it.

The page: open the address that is printed. Drop a photo on the page, paste one, or start with a sample. It shows the
landmarks, their names and how clearly each is seen, and saves them as CSV, JSON or .pts. If it finds the
wrong object, drag a box around the right one. With a GAN, the page also draws the same landmarks in other styles.

The samples are photos of your own (--samples); otherwise test photos in data/raw, cut out like the training crops;
otherwise, for a detector of faces, rendered faces.

The API: POST photos to /invocations as JSON, with Content-Type: application/json.
  {"inputs": [{"image": BASE64, "box": [LEFT, TOP, WIDTH, HEIGHT], "refine": null}, ...]}
`image` is an image file in base64; you can give `pixels`, rows of [red, green, blue], instead. `box` and `refine` are
optional: without a box the photo is searched, unless refine is true (look again around what is found in the middle) or
false (look once). The answer has one entry for each photo, in the same order:
  {"predictions": [{"names": [...], "points": [[X, Y], ...], "confidence": [...], "plausibility": P}, ...]}
x and y are in pixels of the photo as displayed; 0 is the centre of the first pixel.

A bad request gets status 400 and {"error": SENTENCE}, which names the first photo at fault. A request of more than
32 MB gets 413, one that is not JSON 415, and one that is not whole within a minute 408. GET /ping tells you whether
the server is up.

The model is a file or a model in MLflow's registry: models:/brule@champion is the best that `evaluate` has registered.
MLflow's own server has the same API: mlflow models serve -m models:/brule@champion --env-manager local

examples:
  brule serve
  brule serve --model start.safetensors --samples holiday/ --port 0
  brule serve --model models:/brule@champion --port 8080"""
USE = """\
{address} finds {count} landmarks; Ctrl-C stops it. Open it in a browser, or ask it from a program:

printf '{{"inputs": [{{"image": "%s"}}]}}' "$(base64 < photo.jpg | tr -d '\\n')" |
  curl -s --data-binary @- -H 'Content-Type: application/json' {address}/invocations"""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = command.add_argument
    cli.model(command)
    add("--gan", type=Path, metavar="FILE", help="the GAN; default: gan.safetensors beside the model, if there is one")
    add("--samples", type=Path, metavar="DIR", help="a folder of photos for the page to offer")
    cli.port(command, 5001)


def run(args: argparse.Namespace) -> bool:
    """Answer until Ctrl-C. Any failure raises: the result is never True."""
    from brule.app import detecting, server
    from brule.app.page import Page
    from brule.app.samples import offered
    from brule.detector.model import load

    with server.bind(args.port) as listening:
        detector = load(args.model)
        page = Page(detector, _gan(args, detector), offered(detector, args.samples))
        print(USE.format(address=server.address(listening), count=len(detector.scheme.names)), flush=True)
        server.serve(detecting.application(page), listening)
    return False


def _gan(args: argparse.Namespace, detector: Detector) -> Gan | None:
    """The GAN that was asked for, or the one beside the model; None if there is none, or if it was never trained.

    One that nobody asked for and that cannot be used costs a line on stderr, not the detector.
    """
    from brule.detector.gan import Gan

    path = args.gan or Path(args.model).with_name("gan.safetensors")
    if args.gan is None and not path.exists():
        return None
    try:
        gan = Gan.load(path, detector.device, (len(detector.scheme.names), detector.image_size))
    except BruleError as error:
        if args.gan is not None:
            raise
        print(f"{error}; the page does without it", file=sys.stderr)
        return None
    return gan if gan.iterations else None
