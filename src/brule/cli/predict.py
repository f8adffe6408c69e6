"""`brule predict`: the landmarks of photos and videos, found by a trained detector.

Whatever needs torch or matplotlib is imported where it is used, so that `brule --help` stays quick.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from brule import cli, files
from brule.cli import films
from brule.cli.named import find, keep_inputs
from brule.errors import BruleError, sentence
from brule.terminal import track

if TYPE_CHECKING:
    from brule.data.schemes import Scheme
    from brule.detector.model import Detector
    from brule.detector.prediction import Prediction

TITLE = "Find the landmarks of photos and videos."
EPILOG = """\
A PHOTO is a file, a folder (all images in it and below) or a pattern such as 'holiday/*.jpg'. Without --box, the
whole photo is searched for the object; of several plausible ones, the largest is answered. If you know the box around
the landmarks, give it (the same for all photos; it may be off by a fifth of its width). Either way the detector then
looks again around the points that it has just found. --refine searches nothing and begins in the middle of the photo,
which is faster; --no-refine looks once, which suits photos that are cropped like the training images.
On test photos of 300-W, where the landmarks span less than half of the largest square, the error is 5.0 % by default,
with the box and without it; without a box, it is 5.9 % with --refine and 18.4 % with --no-refine.

x and y are pixels of the photo as it is displayed, and 0 is the centre of the first one (a .pts counts from 1). The
confidence, from 0 to 1, says how sharply a landmark is seen, not how likely it is to be right. The plausibility, from 0
to 1, says how much the whole answer is like those on what the detector was trained on; below 0.5 it is unlike nearly
all of them, and stderr says so. It is empty if an older brule trained the detector, which then does as with --refine.

The first line on stderr says what the detector was trained on. --overlay draws edges, and the landmarks' names or, if
there are more than 24, their numbers from 0. Of mirrored pairs the left landmark is light and the right one dark.

A video is answered frame by frame (this needs pip install -e '.[video]'). The result is NAME.mp4.csv or .json in --out,
with one line per landmark, the number of the frame and its time in seconds; --overlay draws the landmarks into an .mp4.
The detector looks at each frame around the points of the previous one, and searches the frame where it has lost the
object; with --no-refine it looks at each frame by itself. The one-euro filter smooths the points, unless you give
--unsmoothed.

To correct answers instead of labelling from nothing, write them as proposals for a labelling tool, all photos in one
file: --format coco, cvat, label-studio or tps. With --out, cvat also writes the label and label-studio the labelling
interface that the project needs. An image is named by its path below the folder given as PHOTO. Corrected, the tool's
own export is what data.labels takes, and data.shapes.

If a photo cannot be answered, stderr says why, the others are answered all the same, and the exit code is 1.

examples:
  brule predict photo.jpg
  brule predict photos/ --out found --overlay
  brule predict photo.jpg --box 210 180 260 270 --format json
  brule predict photos/ --format coco --out found
  brule predict talk.mp4 --out found --overlay"""
PROPOSALS = {"coco": "coco.json", "cvat": "cvat.xml", "label-studio": "label-studio.json", "tps": "tps"}
"""Form of proposals → how the name of its file goes on after `landmarks.`"""
BATCH = 16
"""Photos that are answered together."""
WARNINGS = 10
"""Photos that get a line of their own on stderr, at most, if they are unlike what the detector was trained on."""


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = command.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="a file, a folder or a pattern")
    cli.model(command)
    box = "the box around the landmarks in pixels: left, top, width, height"
    add("--box", type=float, nargs=4, metavar=tuple("XYWH"), help=box)
    refine = "--refine: search nothing, look again around the points found in the middle; --no-refine: look only once"
    add("--refine", action=argparse.BooleanOptionalAction, help=refine)
    add("--out", type=Path, metavar="DIR", help="write landmarks.csv or .json to this folder instead of to stdout")
    form = "pts: one file per photo; coco, cvat, label-studio, tps: proposals to correct; default: %(default)s"
    add("--format", choices=("csv", "json", "pts", *PROPOSALS), default="csv", metavar="FORM", help=form)
    add("--overlay", action="store_true", help="also write each photo with its landmarks to --out, as a PNG")
    add("--unsmoothed", action="store_true", help="videos: leave the points of each frame as they were found")


def run(args: argparse.Namespace) -> bool:
    """Answer and write. Returns whether any photo failed."""
    if args.out is None and (args.overlay or args.format == "pts"):
        option = "--overlay" if args.overlay else "--format pts"
        args.command.error(f"{option} writes a file for each photo: give --out DIR")
    from brule.detector.model import load

    chosen, failed = _chosen(args)
    if not chosen:
        return True
    if args.format in PROPOSALS:
        _unlike(chosen)
    if args.out is None and len(chosen) > 1 and any(map(films.is_film, chosen)):
        args.command.error("a video has a table of its own: give --out DIR, or the video alone")
    if args.out:
        _make_room(args)
    from brule.stages.wording import trained_on

    detector = load(args.model)
    print(f"{args.model}: {trained_on(detector)}", file=sys.stderr)
    photos = {path: place for path, place in chosen.items() if not films.is_film(path)}
    failed |= bool(photos) and _photos(args, detector, photos)
    for path in filter(films.is_film, chosen):
        try:
            films.answer(args, detector, path, (args.out or Path()) / chosen[path])
        except BruleError as error:
            failed = _report(error)
    return failed


def _report(error: object) -> bool:
    print(sentence(str(error)), file=sys.stderr)
    return True


# Which photos and videos, and which files are written for them.


def _chosen(args: argparse.Namespace) -> tuple[dict[Path, Path], bool]:
    """Each photo and its place below --out; and whether an argument held none, or two would write the same file."""
    chosen: dict[Path, Path] = {}
    failed = False
    for argument in args.photos:
        try:
            chosen = {**chosen, **find(argument)}
        except BruleError as error:
            failed = _report(error)
    if args.out:
        keep_inputs(chosen, args.out)
        owners: dict[Path, Path] = {}
        for path, place in list(chosen.items()):
            written = _own(args, path, place)
            if other := next((owners[file] for file in written if file in owners), None):
                failed = _report(f"{path}: {other} has the same place below --out; give this one a different --out")
                del chosen[path]
            else:
                owners |= dict.fromkeys(written, path)
    return chosen, failed


def _unlike(chosen: Mapping[Path, Path]) -> None:
    """Raise BruleError if two photos would have the same name in a file of proposals."""
    owners: dict[str, Path] = {}
    for path, place in chosen.items():
        name = _title(path, place)
        if name in owners:
            raise BruleError(
                f"{path}: {owners[name]} would have the same name, {name}; give the folder that holds both"
            )
        owners[name] = path


def _title(path: Path, place: Path) -> str:
    """What a file of proposals calls a photo: its path below the folder that was given."""
    return files.shown(place.with_name(path.name)).replace(os.sep, "/")


def _own(args: argparse.Namespace, path: Path, place: Path) -> list[Path]:
    """The files below --out that belong to this photo or video alone."""
    if films.is_film(path):
        names = [f"{path.name}.{args.format}", *([f"{place.name}.mp4"] if args.overlay else [])]
    else:
        kinds = {"pts": args.format == "pts", "png": args.overlay}
        names = [f"{place.name}.{kind}" for kind, asked in kinds.items() if asked]
    return [place.with_name(name) for name in names]


def _make_room(args: argparse.Namespace) -> None:
    """Make --out. Raises BruleError if it takes no files, before the detector looks at any photo."""
    files.make_folder(args.out)
    with files.writing(args.out):
        tempfile.TemporaryFile(dir=args.out).close()
    table = args.out / f"landmarks.{PROPOSALS.get(args.format, args.format)}"
    if table.is_dir():
        raise BruleError(
            f"{table}: a folder stands where the table belongs; move the folder away, or give a different --out"
        )


# Photos.


def _photos(args: argparse.Namespace, detector: Detector, chosen: Mapping[Path, Path]) -> bool:
    """Answer the photos, each with files of its own and all in one table. Returns whether any failed."""
    found: dict[Path, Prediction] = {}
    failed = False
    answers = detector.predictions(chosen, repeat(args.box), args.refine, BATCH)
    for path, answer in zip(chosen, track(answers, "Finding landmarks", len(chosen)), strict=True):
        if isinstance(answer, BruleError):
            failed = _report(answer)
        else:
            found[path] = answer
            if args.out:
                _write_one(args, path, answer, detector.scheme, args.out / chosen[path])
    if args.format in PROPOSALS:
        _propose(args, found, chosen, detector.scheme)
    else:
        _write_table(args, found)
    _warn(found)
    return failed


def _warn(found: Mapping[Path, Prediction]) -> None:
    """Say on stderr which answers are unlike what the detector was trained on: a line each, and how many if many."""
    from brule.detector.plausibility import THRESHOLD

    sure = {path: answer.plausibility for path, answer in found.items() if answer.plausibility is not None}
    strange = {path: value for path, value in sure.items() if value < THRESHOLD}
    for path, value in list(strange.items())[:WARNINGS]:
        _report(f"{path}: does not look like what the detector was trained on (plausibility {value:.2f}); check it")
    if len(strange) > WARNINGS:
        further = len(strange) - WARNINGS
        _report(
            f"{further} more photos do not look like it either, {len(strange)} of {len(found)} in all; the table says "
            f"which: their plausibility is below {THRESHOLD}"
        )


def _write_one(args: argparse.Namespace, path: Path, answer: Prediction, scheme: Scheme, place: Path) -> None:
    """The files of one photo."""
    if args.format == "pts":
        from brule.detector.text import pts_text

        files.write_text(place.with_name(f"{place.name}.pts"), pts_text(answer))
    if args.overlay:
        from brule.data.photos import picture
        from brule.figures import grids

        with picture(path, str(path), None, grids.LONGEST) as read:
            points = (answer.points + 0.5) / read.factor - 0.5
            grids.photo(read.image, points, place.with_name(f"{place.name}.png"), scheme)


def _write_table(args: argparse.Namespace, found: dict[Path, Prediction]) -> None:
    """The one table, to --out or to stdout."""
    from brule.detector.text import csv_text, json_text

    if args.format == "pts":
        return
    text = csv_text(found) if args.format == "csv" else json_text(found)
    if args.out:
        files.write_text(args.out / f"landmarks.{args.format}", text)
    else:
        sys.stdout.write(text)


def _propose(
    args: argparse.Namespace, found: Mapping[Path, Prediction], chosen: Mapping[Path, Path], scheme: Scheme
) -> None:
    """The one file of proposals, to --out or to stdout, and in --out what the tool's project needs to take it."""
    from brule.data import photos
    from brule.data.forms import coco, cvat, labelstudio, tps
    from brule.data.forms.objects import Proposal

    proposals = [
        Proposal(_title(path, chosen[path]), photos.size(path), answer.points, float(answer.confidence.mean()))
        for path, answer in found.items()
    ]
    form = {"coco": coco, "cvat": cvat, "label-studio": labelstudio, "tps": tps}[args.format]
    text = form.text(scheme, proposals)
    if not args.out:
        sys.stdout.write(text)
        return
    files.write_text(args.out / f"landmarks.{PROPOSALS[args.format]}", text)
    if args.format == "cvat":
        files.write_text(args.out / "cvat-label.json", cvat.labels_text(scheme, proposals))
    if args.format == "label-studio":
        files.write_text(args.out / "label-studio-interface.xml", labelstudio.interface(scheme))
