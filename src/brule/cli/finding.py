"""The photos that a command line names, and the place below another folder of what is written for each of them."""

import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from brule.data.crop import SUFFIXES
from brule.errors import BruleError


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
