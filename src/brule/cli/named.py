"""Which photos the words on a command line name."""

import glob
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from brule import files
from brule.data.layouts import HIDDEN, images, passed_over, tally
from brule.errors import BruleError


def find(argument: str) -> dict[Path, Path]:
    """The photos of a file name, a folder with all below it, or a pattern: photo → its place elsewhere, without suffix.

    A file need not exist; whoever reads it will notice. Photos in a folder that are in no form that is read are told.
    Raises BruleError if a folder or a pattern holds no photo.
    """
    if not argument:
        raise BruleError("'': names no photo; give a file, a folder or a pattern")
    path = Path(argument)
    if os.path.isdir(argument):
        found = {inner: inner.relative_to(path) for inner in images(path)}
        if set(passed := passed_over(path, found)) - {HIDDEN}:
            print(f"{files.shown(path)}: passed over {tally(passed)}.", file=sys.stderr)
    elif glob.has_magic(argument) and not os.path.exists(argument):
        found = {Path(m): Path(Path(m).name) for m in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(m)}
    else:
        found = {path: Path(path.name)}
    if not found:
        raise BruleError(f"{argument}: holds no photo; give a file, or a folder or a pattern that holds some")
    return {inner: place.with_suffix("") for inner, place in found.items()}


def keep_inputs(found: Mapping[Path, Path], out: Path) -> None:
    """Raise BruleError if something would be written beside a photo, where its owner's landmarks may lie."""
    inputs = {folder for path in found for folder in (path.parent.resolve(), path.resolve().parent)}  # links have two
    for folder in {out, *((out / place).parent for place in found.values())}:
        if folder.resolve() in inputs:
            raise BruleError(f"{folder}: holds some of these photos; give --out a folder of its own, away from them")
