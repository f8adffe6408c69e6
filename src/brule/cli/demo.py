"""`brule demo`: a page in the browser, to try a trained detector on photos."""

import argparse
from pathlib import Path

from brule import cli as options

TITLE = "Open a page on this computer, to try the detector on photos by hand."
EPILOG = """\
Drop a photo on the page, paste one, or begin with the samples. It shows the landmarks, their names and how sharply each
is seen, and hands them out as CSV, JSON or .pts; drag a box around the object where the photo shows more than that.
Where the GAN lies beside the detector, it also draws the same landmarks in other styles.

The page listens on 127.0.0.1 alone, loads nothing from elsewhere and writes no photo down: none leaves this computer.

Samples are test photos of data/raw, cut as those of training were; without any, rendered faces where the detector is
one of faces.

examples:
  brule demo
  brule demo --model start.safetensors --samples holiday/ --port 0"""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = command.add_argument
    options.model(command)
    add("--gan", type=Path, metavar="FILE", help="default: gan.safetensors beside the model, where there is one")
    add("--samples", type=Path, metavar="DIR", help="photos of your own to begin with")
    options.port(command, default=8000)


def run(args: argparse.Namespace) -> bool:
    """Answer until Ctrl-C. Whatever fails is raised: never True."""
    from brule.app import loopback
    from brule.app.answering import Guide
    from brule.app.page_server import application
    from brule.app.painting import Painter
    from brule.app.samples import offered
    from brule.detector.model import load

    with loopback.bind(args.port) as listening:
        detector = load(args.model)
        beside = Path(args.model).with_name("gan.safetensors")
        gan = args.gan or (beside if beside.exists() else None)
        guide = Guide(detector, Painter.load(gan, detector) if gan else None, offered(detector, args.samples))
        print(f"{loopback.address(listening)}  (Ctrl-C ends it)", flush=True)
        loopback.serve(application(guide), listening)
    return False
