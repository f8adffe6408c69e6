"""`brule serve`: a trained detector that other programs ask over HTTP."""

import argparse

from brule import cli as options

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


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    options.model(command)
    options.port(command, default=5001)


def run(args: argparse.Namespace) -> bool:
    """Answer until it is ended. Whatever fails is raised: never True."""
    from brule.app import loopback
    from brule.app.server import application
    from brule.detector.model import load

    with loopback.bind(args.port) as listening:
        detector = load(args.model)
        address = loopback.address(listening)
        print(f"{address} finds {len(detector.scheme.names)} landmarks; Ctrl-C ends it. Ask it like this:\n")
        print(USE.format(address=address), flush=True)
        loopback.serve(application(detector), listening)
    return False
