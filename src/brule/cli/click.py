"""`brule shapes`: a page on which you click the landmarks of a few photos."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from brule import cli, files
from brule.cli.named import find
from brule.errors import BruleError, counted
from brule.terminal import track

if TYPE_CHECKING:
    from brule.app.sheet import Photo

TITLE = "Click landmark shapes on a few photos, to train a detector with."
EPILOG = """\
A PHOTO is a file, a folder (all images in it and below) or a pattern such as 'holiday/*.jpg'. Of many, --count photos
are shown, spread evenly over all. Open the address that is printed in a browser:

1. On the first picture, click the points that the detector is to find, and name them. What a mirror swaps is a pair:
   names with left and right in them are paired by themselves, others when you mark them. Edges are the lines that
   pictures of the landmarks show.
2. On a few more pictures, click the same points. The page tells you which comes next, and shows where it lay on the
   first picture.

Every change is written to --out at once. The same command goes on with that file, so you can stop at any moment; a
picture that is only half done is kept in it as a draft, which training does not read. The file is JSON with "names",
"edges", "pairs", "images", "sizes" and "shapes". x and y are in pixels of the photo as displayed; 0 is the centre of
the first pixel. Training takes it as data.shapes.

It listens on 127.0.0.1 only, so no other computer can reach it, and web pages of other sites are refused. Nothing is
loaded from elsewhere, and nothing is written but --out. Ctrl-C stops it.

examples:
  brule shapes pictures/
  brule shapes one.jpg two.jpg three.jpg --out hand.json
  brule new pictures --shapes shapes.json"""
USE = """\
{address} shows {shown}; Ctrl-C stops it. Open it in a browser:
1. On the first picture, click the points that you want found, and name them.
2. Click the same points on a few more pictures.
Every change is written to {out}{held}. Then: brule new PHOTOS --shapes {out}"""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = command.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="a file, a folder or a pattern")
    out = "the file of shapes; one that is there is continued; default: %(default)s"
    add("--out", type=Path, default=Path("shapes.json"), metavar="FILE", help=out)
    cli.count(command, "photos", 1000, 60, "photos to show, at most")
    cli.port(command, 5002)


def run(args: argparse.Namespace) -> bool:
    """Answer until Ctrl-C. Any failure raises: the result is never True."""
    _make_room(args.out)
    out = args.out.resolve() if args.out.is_symlink() else args.out  # what it points to is written
    found = _named(args.photos)
    from brule.app import clicking, server
    from brule.app.sheet import Sheet, recorded

    with server.bind(args.port) as listening:
        begun = {record.image for record in recorded(out)[1]}
        chosen = _few(found, args.count, begun)
        given = list(_opened(chosen))
        if not given:
            raise BruleError("none of these photos can be read; give others")
        sheet = Sheet(out, given)
        state = sheet.told()
        held = f", which holds {counted(state['whole'], 'shape')} of {counted(len(state['names']), 'point')} so far"
        shown = f"{len(given)} of {len(found)} photos (--count N shows more)"
        print(
            USE.format(
                address=server.address(listening),
                shown=counted(len(given), "photo") if len(chosen) == len(found) else shown,
                out=args.out,
                held=held if begun else "",
            ),
            flush=True,
        )
        server.serve(clicking.application(sheet), listening)
    return False


def _make_room(out: Path) -> None:
    """Raise BruleError if --out cannot be written, before anybody has clicked anything."""
    if out.suffix.lower() != ".json":
        raise BruleError(f"{out}: shapes are kept as JSON; give --out a name that ends in .json")
    if out.is_dir():
        raise BruleError(f"{out}: is a folder; give --out the name of a file")
    files.make_folder(out.parent)
    with files.writing(out):
        tempfile.TemporaryFile(dir=out.parent).close()


def _named(arguments: list[str]) -> dict[str, Path]:
    """What the file will call each photo: its path below the folder that was given, or else its name."""
    named: dict[str, Path] = {}
    for argument in arguments:
        for path, place in find(argument).items():
            name = (place.parent / path.name).as_posix()
            if named.setdefault(name, path).resolve() != path.resolve():
                raise BruleError(
                    f"{path}: {named[name]} has the same name, {name}; give the folder above both, or one of them"
                )
    return named


def _few(found: Mapping[str, Path], count: int, begun: set[str]) -> dict[str, Path]:
    """At most `count` photos, evenly spread, and those that were begun."""
    step = max(1.0, len(found) / count)
    spread = {int(step * index) for index in range(count)}
    return {name: path for index, (name, path) in enumerate(found.items()) if index in spread or name in begun}


def _opened(chosen: Mapping[str, Path]) -> Iterator[Photo]:
    """The photos. One that cannot be read costs a line on stderr."""
    from brule.app.sheet import opened

    for name, path in track(chosen.items(), "Opening photos", len(chosen)):
        try:
            if not name.isprintable():
                raise BruleError(f"{name!a}: this name cannot be written to a file of shapes; rename the photo")
            yield opened(path, name)
        except BruleError as error:
            print(f"{error} (it is skipped)", file=sys.stderr)
