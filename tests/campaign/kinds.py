"""All that a campaign tries: what a case is called, who makes it, how long it may take, how often it comes."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from campaign import asking, disks, doors, hostile, pipeline


class Kind(NamedTuple):
    attempt: Callable[[random.Random, Path], None]
    """Raises FailedError, or NotTriedError."""
    seconds: float
    """More is a hang, on a busy machine."""
    share: float
    """Of a campaign's cases, relative to the other kinds."""
    small: int
    """Cases in the tests."""


STAGES = (*pipeline.STAGES, "tune")
KINDS: dict[str, Kind] = {
    **{f"file/{name}": Kind(partial(doors.attempt, door), 60, 10, 8) for name, door in doors.DOORS.items()},
    "source/archive": Kind(hostile.archive, 60, 8, 5),
    "source/folder": Kind(hostile.photos, 60, 8, 5),
    "request": Kind(asking.attempt, 120, 15, 30),
    **{f"kill/{stage}": Kind(partial(pipeline.kill, stage), 900, 0.25, 1) for stage in STAGES},
    **{f"disk/{stage}": Kind(partial(disks.full, stage), 900, 0.1, 1) for stage in STAGES},
    **{f"input/{stage}": Kind(partial(pipeline.mangled, stage), 300, 0.8, 1) for stage in pipeline.STAGES[1:]},
    "kill/tracked": Kind(pipeline.tracked, 900, 0.15, 1),
    "kill/checkpoint": Kind(pipeline.checkpoint, 900, 0.25, 1),
}
