"""What counts as a good answer: a result, or one sentence; and no file outside the folder of the case."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from brule import terminal
from brule.errors import BruleError

T = TypeVar("T")
LONGEST = 400
"""Characters of a sentence; more of them is a dump."""
_WRITING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
_CACHE = str(Path(tempfile.gettempdir(), "torchinductor_"))
"""PyTorch's own, wherever a case's folder is."""
_STRAYED, _FOLDER = list[str](), list[Path]()  # an audit hook stays for ever, so there is one for all cases


class FailedError(Exception):
    """The promise is broken, and how."""


class NotTriedError(Exception):
    """This machine cannot try such a case, and why."""


def expect(fact: object, complaint: str) -> None:
    if not fact:
        raise FailedError(complaint)


def answer(call: Callable[[], T], folder: Path, *named: str) -> T | None:
    """What the call returns; None where it refuses in a good sentence, which holds one of the names."""
    with _watched(folder):
        try:
            return call()
        except Exception as error:
            said = terminal.explain(error) if isinstance(error, BruleError | OSError) else None
            if said is None:
                place = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{Path(place.filename).name}:{place.lineno}"
                raise FailedError(f"{type(error).__name__} at {at}: {' '.join(str(error).split())[:200]}") from error
            sentence(said, *named)
            return None


def sentence(text: str, *named: str) -> None:
    """Raise FailedError unless this is one short line that holds one of the names."""
    expect(text.strip(), "it refuses without a word")
    expect("\n" not in text.strip() and "Traceback" not in text, f"not one line: {text[:200]!r}")
    expect(len(text) < LONGEST, f"{len(text)} characters: {text[:120]}…")
    expect(any(name in text for name in named), f"names none of {', '.join(named)}: {text[:200]}")


@contextmanager
def _watched(folder: Path) -> Iterator[None]:
    if not _FOLDER:
        sys.addaudithook(_look)
    _FOLDER[:] = [folder.resolve()]
    _STRAYED.clear()
    try:
        yield
    finally:
        _FOLDER[:] = [Path("/")]
    expect(not _STRAYED, f"it writes outside its folder: {_STRAYED[:3]}")


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    if event in _WRITING or (event == "open" and isinstance(arguments[2], int) and arguments[2] & flags):
        for one in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
            if isinstance(one, str | bytes | os.PathLike) and not _inside(os.path.realpath(os.fsdecode(one))):
                _STRAYED.append(f"{event} {os.fsdecode(one)}")


def _inside(path: str) -> bool:
    if path == os.devnull or path.startswith(_CACHE):
        return True
    return any(Path(path).is_relative_to(folder) for folder in _FOLDER)


def leftovers(folder: Path, before: Collection[Path] = ()) -> list[Path]:
    """What an interrupted writer left half-written in a folder."""
    return [path for path in folder.rglob(".*") if ".tmp" in path.name and path not in before]
