"""`brule export`: a trained detector as a file for other programs."""

import argparse
from pathlib import Path

from brule import cli
from brule.files import shown

TITLE = "Write the detector to an ONNX file, which runs without torch and without brule."
EPILOG = """\
The model takes `images`: any number of square RGB crops as bytes, (N, S, S, 3). It returns `points`, (N, K, 2), the x
and y of each landmark from 0 to 1 across the crop, and `confidence`, (N, K). It includes all steps from bytes to
points. Its doc string and metadata explain the numbers: they hold the names of the landmarks, how crops were framed
around them in training, the mean shape and more.

Before the file is written, the model is tried on a few images and must agree with torch. Finding and cutting the
square of a photo is not part of it: crop close around the object, as `framing` in the metadata says.

This needs the extra `onnx`: pip install -e '.[onnx]' -c constraints.txt

examples:
  brule export
  brule export --model start.safetensors --onnx phone/landmarks.onnx"""
USE = """\
import numpy, onnxruntime, PIL.Image
crop = PIL.Image.open("crop.png").convert("RGB").resize(({size}, {size}))
points, confidence = onnxruntime.InferenceSession({path!r}).run(None, {{"images": numpy.array(crop)[None]}})"""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    cli.model(command)
    text, default = "the file to write; default: %(default)s", Path("models/detector.onnx")
    command.add_argument("--onnx", type=Path, default=default, metavar="FILE", help=text)


def run(args: argparse.Namespace) -> bool:
    """Write the file and say how to use it. Any failure raises: the result is never True."""
    from brule.detector.model import load
    from brule.detector.onnx import to_onnx

    if args.onnx.suffix != ".onnx":  # a detector.safetensors given here would be lost
        args.command.error(f"--onnx {args.onnx}: its name must end in .onnx")
    detector = load(args.model)
    difference = to_onnx(detector, args.onnx)
    print(f"{shown(args.onnx)}: {args.onnx.stat().st_size / 1e6:.1f} MB")
    print(f"largest difference from torch: {difference:.1g} px of the crop\n")
    print("To find the landmarks of a crop, and how clearly each is seen:\n")
    print(USE.format(size=detector.image_size, path=str(args.onnx)))
    print(f"\npoints[0] * {detector.image_size} are pixels of the crop; 0 is its left or upper edge.")
    return False
