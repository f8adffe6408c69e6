"""The videos among what `brule predict` is given: the landmarks of every frame, and the frames with them drawn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from brule import files, video
from brule.answers import FRAMES, frame_csv, frame_json
from brule.data.progress import track
from brule.detector import Detector
from brule.errors import BruleError
from brule.figures.frame import marked
from brule.following import follow
from brule.prediction import Prediction
from brule.video import Frame

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
