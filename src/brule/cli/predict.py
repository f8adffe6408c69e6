"""`brule predict`: landmarks of photos, by a detector that was trained before.

The photos that a command line names, and the place below another folder of what is written for each of them.

The videos among what `brule predict` is given: the landmarks of every frame, and the frames with them drawn."""

from __future__ import annotations

import argparse
import sys
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from brule import cli as options
from brule.errors import BruleError

if TYPE_CHECKING:
    from brule.data.schemes import Scheme
    from brule.detector.model import Detector
    from brule.detector.prediction import Prediction
import glob
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from brule import files
from brule.data.crop import SUFFIXES
from brule.detector import video
from brule.detector.model import Detector
from brule.detector.prediction import Prediction
from brule.detector.text import FRAMES, frame_csv, frame_json
from brule.detector.video import Frame, follow
from brule.figures.grids import marked
from brule.terminal import track

TITLE = "Find the landmarks of photos, and of videos."
EPILOG = """\
A PHOTO is a file, a folder (all images in it and below) or a pattern such as 'holiday/*.jpg'. Without --box the largest
square in the middle of a photo is looked at: right for photos that are cut as those of training were. For others give
the box (one for all), which may be a tenth of its width off, or --refine. On test photos of 300-W, whose landmarks span
less than half of that square, the error is 4.9 % with the box, 17.4 % without it, and 5.5 % with --refine (README).

x and y are pixels of the photo as it is displayed, from 0 at the centre of its first one (a .pts counts from 1). The
confidence, 0 to 1, says how sharply a landmark is seen, not how likely it is to be right.

A video is answered frame by frame (pip install -e '.[video]'): into NAME.mp4.csv or .json in --out, a line a landmark
with the frame's number and its time in seconds; --overlay draws them into an .mp4. With --refine each frame is also
looked at around the points of the one before. The points are smoothed by the one-euro filter, unless --unsmoothed.

A photo that cannot be answered is named on stderr; the others are answered, and the exit code is 1.

examples:
  brule predict face.jpg
  brule predict faces/ --refine --out found --overlay
  brule predict face.jpg --box 210 180 260 270 --format json
  brule predict talk.mp4 --refine --out found --overlay"""
BATCH = 16
"""Photos that are answered together."""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = command.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="a file, a folder or a pattern")
    options.model(command)
    add(
        "--box",
        type=float,
        nargs=4,
        metavar=tuple("XYWH"),
        help="the landmarks' box in pixels: left, top, width, height",
    )
    add("--refine", action="store_true", help="look again, close around what was found, until that comes to rest")
    add("--out", type=Path, metavar="DIR", help="write landmarks.csv or .json into this folder, not to stdout")
    add(
        "--format",
        choices=("csv", "json", "pts"),
        default="csv",
        help="pts: a file for each photo; default: %(default)s",
    )
    add(
        "--overlay",
        action="store_true",
        help="write each photo with its landmarks into --out as well, as a PNG",
    )
    add("--unsmoothed", action="store_true", help="videos: each frame's points as they were found")


def run(args: argparse.Namespace) -> bool:
    """Answer and write; whether any photo failed."""
    if args.out is None and (args.overlay or args.format == "pts"):
        option = "--overlay" if args.overlay else "--format pts"
        args.command.error(f"{option} writes a file for each photo: give --out DIR")
    from brule.detector.model import load
    from brule.detector.prediction import predictions
    from brule.terminal import track

    chosen, failed = _chosen(args)
    if not chosen:
        return True
    if args.out is None and len(chosen) > 1 and any(map(_is_film, chosen)):
        args.command.error("a video has a table of its own: give --out DIR, or the video alone")
    if args.out:
        _make_room(args)
    detector = load(args.model)
    photos = [path for path in chosen if not _is_film(path)]
    found: dict[Path, Prediction] = {}
    looks = predictions(detector, photos, repeat(args.box), args.refine, BATCH)
    for path, answer in zip(photos, track(looks, "Finding landmarks", len(photos)) if photos else (), strict=True):
        if isinstance(answer, BruleError):
            failed = _told(answer)
        else:
            found[path] = answer
            if args.out:
                _write_one(args, path, answer, detector.scheme, args.out / chosen[path])
    if photos:
        _write_all(args, found)
    return _films(args, detector, {path: place for path, place in chosen.items() if _is_film(path)}) or failed


def _is_film(path: Path) -> bool:
    from brule.detector.video import SUFFIXES

    return path.suffix.lower() in SUFFIXES


def _films(args: argparse.Namespace, detector: Detector, chosen: dict[Path, Path]) -> bool:
    """Answer the videos one after the other; whether any failed."""
    if not chosen:
        return False
    pass

    failed = False
    for path, place in chosen.items():
        try:
            film(args, detector, path, (args.out or Path()) / place)
        except BruleError as error:
            failed = _told(error)
    return failed


def _chosen(args: argparse.Namespace) -> tuple[dict[Path, Path], bool]:
    """Each photo and its place below --out; whether an argument held none, or two would write the same file."""
    pass

    chosen: dict[Path, Path] = {}
    failed = False
    for argument in args.photos:
        try:
            chosen = {**chosen, **find(argument)}
        except BruleError as error:
            failed = _told(error)
    if args.out:
        keep_inputs(chosen, args.out)
        owners: dict[Path, Path] = {}
        for path, place in list(chosen.items()):
            written = _own(args, path, place)
            if other := next((owners[file] for file in written if file in owners), None):
                failed = _told(f"{path}: {other} has the same place below --out; give this one another --out")
                del chosen[path]
            else:
                owners |= dict.fromkeys(written, path)
    return chosen, failed


def _make_room(args: argparse.Namespace) -> None:
    """Make --out. Raises BruleError where it will take no files: before all photos are looked at, not after."""
    import tempfile

    from brule import files

    files.make_folder(args.out)
    with files.writing(args.out):
        tempfile.TemporaryFile(dir=args.out).close()
    table = args.out / f"landmarks.{args.format}"
    if table.is_dir():
        raise BruleError(
            f"{table}: a folder stands where the table is to be written; move it away, or give another --out"
        )


def _own(args: argparse.Namespace, path: Path, place: Path) -> list[Path]:
    """The files below --out that are of this photo or video alone."""
    if _is_film(path):
        names = [f"{path.name}.{args.format}", *([f"{place.name}.mp4"] if args.overlay else [])]
    else:
        kinds = {"pts": args.format == "pts", "png": args.overlay}
        names = [f"{place.name}.{kind}" for kind, asked in kinds.items() if asked]
    return [place.with_name(name) for name in names]


def _write_one(args: argparse.Namespace, path: Path, answer: Prediction, scheme: Scheme, place: Path) -> None:
    """The files of one photo."""
    from brule import files
    from brule.data import photos
    from brule.detector.text import pts_text

    if args.format == "pts":
        files.write_text(place.with_name(f"{place.name}.pts"), pts_text(answer))
    if args.overlay:
        from brule.figures import grids as photo

        picture = photos.picture(path, str(path), None, photo.LONGEST)
        points = (answer.points + 0.5) / picture.factor - 0.5
        photo.photo(picture.image, points, place.with_name(f"{place.name}.png"), scheme)


def _write_all(args: argparse.Namespace, found: dict[Path, Prediction]) -> None:
    """The one table, to --out or to stdout."""
    from brule import files
    from brule.detector import text as answers

    if args.format == "pts":
        return
    text = answers.csv_text(found) if args.format == "csv" else answers.json_text(found)
    if args.out:
        files.write_text(args.out / f"landmarks.{args.format}", text)
    else:
        sys.stdout.write(text)


def _told(sentence: object) -> bool:
    print(" ".join(str(sentence).split()), file=sys.stderr)
    return True


def find(argument: str) -> dict[Path, Path]:
    """The photos of a file's name, a folder with all below it, or a pattern: photo → its place elsewhere, no suffix.

    A file need not exist, which whoever reads it will notice. In a folder hidden files are passed over. Raises
    BruleError where a folder or a pattern holds no photo.
    """
    if not argument:
        raise BruleError("'': names no photo; give a file, a folder or a pattern")
    path = Path(argument)
    if os.path.isdir(argument):
        found = {inner: inner.relative_to(path) for inner in _inside(path)}
    elif glob.has_magic(argument) and not os.path.exists(argument):
        found = {Path(m): Path(Path(m).name) for m in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(m)}
    else:
        found = {path: Path(path.name)}
    if not found:
        raise BruleError(f"{argument}: no photo is there; give a file, or a folder or a pattern that holds some")
    return {inner: place.with_suffix("") for inner, place in found.items()}


def keep_inputs(found: Mapping[Path, Path], out: Path) -> None:
    """Raises BruleError where something would be written beside a photo: its owner's landmarks may lie there."""
    inputs = {folder for path in found for folder in (path.parent.resolve(), path.resolve().parent)}  # links have two
    for folder in {out, *((out / place).parent for place in found.values())}:
        if folder.resolve() in inputs:
            raise BruleError(f"{folder}: holds some of these photos; give --out a folder of its own, away from them")


def _inside(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and os.path.isfile(path):
            yield path


Take = Callable[[Frame, Prediction], None]
"""What becomes of a frame's landmarks."""


def film(args: argparse.Namespace, detector: Detector, path: Path, place: Path) -> None:
    """Answer one video, frame by frame: in a table, and drawn where asked for.

    `place`: where its files go, without a suffix, if --out was given. Raises BruleError where it cannot be answered;
    of its files none is written then.
    """
    if args.format == "pts":
        raise BruleError(f"{path}: a .pts has no room for the frames of a video; give --format csv or json")
    count = video.length(path)
    with _table(args, place.with_name(f"{path.name}.{args.format}")) as write, _drawn(args, detector, place) as draw:
        seen = follow(detector, video.frames(path), args.box, args.refine, not args.unsmoothed)
        for frame, found in track(_named(path, seen), path.name, count):
            write(frame, found)
            draw(frame, found)


def _named(path: Path, seen: Iterator[tuple[Frame, Prediction]]) -> Iterator[tuple[Frame, Prediction]]:
    """The frames; what is wrong with one of them names the video."""
    try:
        yield from seen
    except BruleError as error:
        raise error if str(path) in str(error) else BruleError(f"{path}, {error}") from None


@contextmanager
def _table(args: argparse.Namespace, path: Path) -> Iterator[Take]:
    """Lines as soon as there are any: a long video's would fill the memory."""
    if args.out is None:
        with _lines(args.format, sys.stdout.write) as take:
            yield take
        return
    with (
        files.atomic(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
        _lines(args.format, stream.write) as take,
    ):
        yield take


@contextmanager
def _lines(form: str, write: Callable[[str], object]) -> Iterator[Take]:
    before = "[\n" if form == "json" else FRAMES

    def take(frame: Frame, found: Prediction) -> None:
        nonlocal before
        line = frame_json if form == "json" else frame_csv
        write(before + line(frame.number, frame.time, found))
        before = ",\n" if form == "json" else ""

    yield take
    write("\n]\n" if form == "json" else "")


@contextmanager
def _drawn(args: argparse.Namespace, detector: Detector, place: Path) -> Iterator[Take]:
    if not args.overlay:
        yield lambda frame, found: None
        return
    with video.written(place.with_name(f"{place.name}.mp4")) as add:
        yield lambda frame, found: add(marked(frame.pixels, found.points, detector.scheme), frame.time)
