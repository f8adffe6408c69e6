"""The part of `brule predict` that answers a video, frame by frame."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brule import files
from brule.errors import BruleError
from brule.terminal import track

if TYPE_CHECKING:
    from brule.detector.model import Detector
    from brule.detector.prediction import Prediction
    from brule.detector.video import Frame

    Take = Callable[[Frame, Prediction], None]  # what happens to the landmarks of a frame


def is_film(path: Path) -> bool:
    """Whether a file is a video, by its name."""
    from brule.detector import video

    return path.suffix.lower() in video.SUFFIXES


def answer(args: argparse.Namespace, detector: Detector, path: Path, place: Path) -> None:
    """Answer one video frame by frame: in a table, and drawn if that was asked for.

    `place`: where its files go, without a suffix, if --out was given. Raises BruleError if the video cannot be
    answered, and then writes none of its files.
    """
    from brule.detector import video

    if args.format not in ("csv", "json"):
        what = "a .pts" if args.format == "pts" else f"a file of {args.format}"
        raise BruleError(f"{path}: {what} has no room for the frames of a video; give --format csv or json")
    count = video.length(path)
    with _table(args, place.with_name(f"{path.name}.{args.format}")) as write, _drawn(args, detector, place) as draw:
        answers = video.follow(detector, video.frames(path), args.box, args.refine, not args.unsmoothed)
        for frame, found in track(_named(path, answers), path.name, count):
            write(frame, found)
            draw(frame, found)


def _named(path: Path, answers: Iterator[tuple[Frame, Prediction]]) -> Iterator[tuple[Frame, Prediction]]:
    """The frames. An error about one of them names the video."""
    try:
        yield from answers
    except BruleError as error:
        raise error if str(path) in str(error) else BruleError(f"{path}, {error}") from None


@contextmanager
def _table(args: argparse.Namespace, path: Path) -> Iterator[Take]:
    """Write each line at once: those of a long video would fill the memory."""
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
    from brule.detector.text import FRAMES, frame_csv, frame_json

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
    from brule.detector import video
    from brule.figures.grids import marked

    with video.written(place.with_name(f"{place.name}.mp4")) as add:
        yield lambda frame, found: add(marked(frame.pixels, found.points, detector.scheme), frame.time)
