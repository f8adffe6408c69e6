"""`brule export`: a trained detector as a file for other programs."""

import argparse
from pathlib import Path

from brule import cli as options

TITLE = "Write the detector as one ONNX file, which runs without torch and without brule."
EPILOG = """\
The file takes `images`, square RGB crops as bytes, (N, S, S, 3), as many at once as you like, and answers `points`,
(N, K, 2), x and y of each landmark from 0 to 1 over the crop, and `confidence`, (N, K). Preparation of the bytes and
the step from heatmaps to points are inside it. Its doc string and its metadata say what the numbers mean: the names of
the landmarks, how crops were framed around them in training, the mean shape, and more.

Before it is written it answers a few images, and has to agree with torch. What finds and cuts the square of a photo is
not in it: cut close around the object, as `framing` in the metadata says, or let `brule predict` do it.

It needs the libraries of the extra `onnx`: pip install -e '.[onnx]' -c constraints.txt

examples:
  brule export
  brule export --model start.safetensors --onnx phone/landmarks.onnx"""
USE = """\
import numpy, onnxruntime, PIL.Image
crop = PIL.Image.open("crop.png").convert("RGB").resize(({size}, {size}))
points, confidence = onnxruntime.InferenceSession({path!r}).run(None, {{"images": numpy.array(crop)[None]}})"""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    options.model(command)
    text, default = "the file to write; default: %(default)s", Path("models/detector.onnx")
    command.add_argument("--onnx", type=Path, default=default, metavar="FILE", help=text)


def run(args: argparse.Namespace) -> bool:
    """Write the file and tell how to use it. Whatever fails is raised: never True."""
    from brule.detector.model import load
    from brule.detector.onnx import to_onnx
    from brule.detector.text import shown

    if args.onnx.suffix != ".onnx":  # a detector.safetensors given here would be lost
        args.command.error(f"--onnx {args.onnx}: its name has to end in .onnx")
    detector = load(args.model)
    difference = to_onnx(detector, args.onnx)
    print(f"{shown(args.onnx)}: {args.onnx.stat().st_size / 1e6:.1f} MB")
    print(f"largest difference from torch: {difference:.1g} px of the crop\n")
    print("The landmarks of a crop, and how sharply each is seen:\n")
    print(USE.format(size=detector.image_size, path=str(args.onnx)))
    print(f"\npoints[0] * {detector.image_size} are pixels of the crop, from 0 at its left and upper edge.")
    return False
