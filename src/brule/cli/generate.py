"""`brule generate`: images by the GAN with their landmarks, as data to train on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from brule import cli, files
from brule.errors import BruleError, counted
from brule.terminal import track

if TYPE_CHECKING:
    from brule.detector.gan import Gan
    from brule.detector.generation import Shapes
    from brule.detector.model import Detector

TITLE = "Write images drawn by the GAN, with their landmarks: labelled data that show nobody."
EPILOG = """\
Each image shows a random landmark shape in a random style. FOLDER gets 000000.png, 000001.png, ... and beside each its
landmarks, a .pts. It must be new or empty, and is written as a whole or not at all. The pipeline reads it as labelled
data: set data.source to folder and data.location to FOLDER. A .pts holds no names: set data.shapes to a file of shapes
that has them, or the new detector numbers its landmarks and is trained without mirrored images (68 landmarks are
taken for those of a face). The same seed gives the same images.

The shapes are the unpaired ones of data/crops, or your own (--shapes), as data.shapes takes them: a folder, zip or tar
of .pts, a CSV, a JSON, or the file of a labelling tool (COCO, CVAT, Label Studio, labelme, DeepLabCut, TPS). They
must have as many landmarks as the GAN draws, in the same order.

The labels are what the GAN was asked to draw, and it may have drawn something a little different. So the detector looks
at every image, and at the end you are told how far its landmarks are from the labels. Detector and GAN were trained
together: where both are wrong in the same way, neither notices. With --within, images on which they disagree by more
are left out, and others are drawn until there are enough; what is left is then easier than the rest.

--truncation says how far styles may be from the mean style: lower is more alike and cleaner, 1 is the full variety.

The images are made from the training data. If those have a licence, or may be used for research only, the same goes
for the images.

examples:
  brule generate drawn
  brule generate drawn -n 5000 --within 5 --seed 1
  brule generate drawn --gan models/gan.safetensors --shapes poses.csv --truncation 1"""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = command.add_argument
    add("folder", type=Path, metavar="FOLDER", help="where the images go; a new folder, or an empty one")
    cli.count(command, "images", 10**6, 1000, "how many images")
    cli.model(command)
    add("--gan", type=Path, metavar="FILE", help="the GAN; default: gan.safetensors beside the model")
    add("--shapes", type=Path, metavar="FILE", help="the shapes to draw; default: the unpaired shapes of data/crops")
    add("--seed", type=_seed, default=0, metavar="N", help="other images for another number; default: %(default)s")
    add(
        "--truncation",
        type=_share,
        default=0.7,
        metavar="T",
        help="variety of the styles, 0 to 1; default: %(default)s",
    )
    add("--within", type=_percent, metavar="PERCENT", help="keep only images on which the detector is as close as this")


def run(args: argparse.Namespace) -> bool:
    """Draw, write and say how good the labels are. Any failure raises: the result is never True."""
    folder = cli.new_folder(args.folder, "give the name of a new one")
    import numpy as np
    from PIL import Image

    from brule.data.crop import Square, to_pixels
    from brule.data.pts import format_pts
    from brule.detector import generation
    from brule.detector.model import load
    from brule.stages import wording

    path = args.gan or _beside(args.model)
    detector = load(args.model)
    gan = _gan(path, detector)
    shapes = _shapes(args, gan, detector)
    size, errors = gan.image_size, []
    whole = Square(size / 2, size / 2, size)
    with files.folder(folder) as written:
        images = generation.draw(gan, detector, shapes, args.count, args.seed, args.truncation, args.within)
        for number, drawn in enumerate(track(images, "Drawing", args.count)):
            Image.fromarray(drawn.pixels).save(written / f"{number:06d}.png")
            points = format_pts(to_pixels(drawn.points, whole))
            (written / f"{number:06d}.pts").write_text(points, encoding="utf-8", newline="\n")
            errors.append(drawn.error)
    print(
        f"{args.folder}: {args.count} images with {gan.landmarks} landmarks each. The detector finds them "
        f"{np.mean(errors):.2f} % from where they should be on average, and on one image in ten more than "
        f"{np.percentile(errors, 90):.2f} % from there, in percent of {wording.unit(detector.scheme)}."
    )
    return False


def _beside(model: str) -> Path:
    from brule.detector.model import REGISTRY

    if model.startswith(REGISTRY):
        raise BruleError(f"{model}: the registry keeps no GAN; give one with --gan FILE")
    return Path(model).with_name("gan.safetensors")


def _gan(path: Path, detector: Detector) -> Gan:
    from brule.detector.gan import Gan

    gan = Gan.load(path, detector.device, (len(detector.scheme.names), detector.image_size))
    if not gan.iterations:
        raise BruleError(f"{path}: was never trained, so it draws only noise; train with a stage that has `gan_every`")
    return gan


def _shapes(args: argparse.Namespace, gan: Gan, detector: Detector) -> Shapes:
    """The shapes to choose from, (M, K, 2) in crop units."""
    import numpy as np

    from brule.data import landmarks, prepared
    from brule.detector.generation import framed

    path = args.shapes or prepared.CROPS / "shapes.npy"
    shapes = landmarks.read_shapes(path).points if args.shapes else prepared.load_shapes(prepared.CROPS)
    if shapes.shape[1:] != (gan.landmarks, 2) or not len(shapes):
        raise BruleError(
            f"{path}: its shapes have {counted(shapes.shape[1], 'landmark')}, but the GAN draws {gan.landmarks}; give "
            "--shapes with as many landmarks"
        )
    return framed(shapes, detector.framing, path) if args.shapes else shapes.astype(np.float64)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a seed; give a whole number from 0 on")
    return int(text)


def _share(text: str) -> float:
    return _number(text, 1.0, "a truncation; give a number from 0 to 1")


def _percent(text: str) -> float:
    return _number(text, float("inf"), "a percentage; give a number above 0", least=1e-9)


def _number(text: str, most: float, what: str, least: float = 0.0) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text} is not {what}")
    return number
