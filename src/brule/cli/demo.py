"""`brule demo`: a page in the browser, to try a trained detector on photos."""

import argparse
from pathlib import Path

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
    add("--model", type=Path, default=Path("models/detector.safetensors"), metavar="FILE", help="default: %(default)s")
    add("--gan", type=Path, metavar="FILE", help="default: gan.safetensors beside the model, where there is one")
    add("--samples", type=Path, metavar="DIR", help="photos of your own to begin with")
    add("--port", type=int, default=8000, metavar="N", help="0: any that is free; default: %(default)s")


def run(args: argparse.Namespace) -> bool:
    """Answer until Ctrl-C. Whatever fails is raised: never True."""
    if not 0 <= args.port <= 65535:
        args.command.error(f"--port {args.port}: give a number from 0 to 65535")
    from brule.demo.answering import Guide  # here, since --help need not wait for torch
    from brule.demo.painting import Painter
    from brule.demo.samples import offered
    from brule.demo.server import serve
    from brule.detector import Detector

    detector = Detector.load(args.model)
    beside = args.model.with_name("gan.safetensors")
    gan = args.gan or (beside if beside.exists() else None)
    guide = Guide(detector, Painter.load(gan, detector) if gan else None, offered(detector, args.samples))
    try:
        serve(guide, args.port)
    except KeyboardInterrupt:  # the way it ends
        print()
    return False
