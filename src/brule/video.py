"""Video files, a frame at a time: read upright and as RGB, written as H.264. The one door to PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from brule.errors import BruleError
from brule.files import atomic

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
INSTALL = "pip install -e '.[video]' -c constraints.txt"
_TICKS = 90_000  # a second, of the times in a written file
_CRF = {"crf": "18"}  # of x264: hardly to be told from the original

Pixels = npt.NDArray[np.uint8]


class Frame(NamedTuple):
    """One picture of a video."""

    number: int
    """From 0."""
    time: float
    """Seconds since the first."""
    pixels: Pixels
    """(H, W, 3), RGB, upright as the file says."""


def length(path: Path) -> int:
    """How many frames a video says it has, roughly; 0 where it does not say. Raises BruleError as `frames` does."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        return stream.frames or round(float((container.duration or 0) * (stream.average_rate or 0)) / 1e6)


def frames(path: Path) -> Iterator[Frame]:
    """The frames of a video, one in memory at once.

    Raises BruleError naming the file: PyAV is missing, there is no such file, it is no video, or is torn, which shows
    at the frame where it is.
    """
    with _opened(path) as container:
        yield from _decoded(container.decode(container.streams.video[0]), container.streams.video[0], path)


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    av = _av(path)
    if not path.is_file():
        raise BruleError(f"{path}: there is no such file; give the path of a video")
    try:
        # Only this file: a playlist in the guise of a video may name others, and other computers.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise BruleError(f"{path}: has no pictures in it; give a video")
            yield container
    except av.FFmpegError as error:
        reason = " ".join(str(error.strerror or error).lower().split())
        raise BruleError(f"{path}: is no whole video ({reason}); give another one, or convert it anew") from None


def _decoded(decoded: Iterator[VideoFrame], stream: VideoStream, path: Path) -> Iterator[Frame]:
    rate, number, start, size = float(stream.average_rate or 25), -1, 0.0, (0, 0)
    for number, frame in enumerate(decoded):
        time = number / rate if frame.time is None else frame.time
        if not number:
            start, size = time, (frame.width, frame.height)
        pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        # FFmpeg's turn is counterclockwise, as np.rot90's is.
        upright = np.rot90(pixels, round(frame.rotation / 90))
        yield Frame(number, time - start, np.ascontiguousarray(upright))
    if number < 0:
        raise BruleError(f"{path}: has no pictures in it; give a video")


@contextmanager
def written(path: Path) -> Iterator[Callable[[Pixels, float], None]]:
    """Yield what adds a picture (H, W, 3) and its time, in seconds, to the .mp4 at `path`; sound there is none.

    Atomic. H.264 wants even sides: an odd picture loses its last row or column.
    """
    av = _av(path)
    stream: VideoStream | None = None
    last = -1

    def add(pixels: Pixels, time: float) -> None:
        nonlocal stream, last
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if stream is None:
            stream = container.add_stream("libx264", rate=30, options=_CRF, time_base=Fraction(1, _TICKS))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        last = max(last + 1, round(time * _TICKS))
        frame.pts, frame.time_base = last, Fraction(1, _TICKS)
        container.mux(stream.encode(frame))

    with atomic(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        yield add
        if stream is not None:
            container.mux(stream.encode(None))


def _av(path: Path) -> ModuleType:
    try:
        import av
    except ImportError:
        raise BruleError(f"{path}: for videos the library PyAV is needed; {INSTALL}") from None
    return av
