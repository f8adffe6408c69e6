"""Permissions that hold for root as well, where a test asks for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_NOBODY = 65534


@contextmanager
def reachable() -> Iterator[Path]:
    """A folder that any user may enter, which pytest's own are not."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def read_only() -> Iterator[None]:
    """Within it, nothing can be written in the present folder, whoever owns it."""
    place = Path.cwd()
    before = place.stat().st_mode
    place.chmod(0o555)
    try:
        with nobody():
            yield
    finally:
        place.chmod(before)


@contextmanager
def nobody() -> Iterator[None]:
    """Within it, this process may not do what only root may."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
