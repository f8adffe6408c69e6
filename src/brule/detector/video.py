"""Videos: their frames read and written (the only module that uses PyAV), and landmarks followed from frame to frame.

The points are made calm by the one-euro filter of Casiez, Roussel and Vogel (CHI 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from brule.data.crop import Pixels, Points
from brule.detector.model import Detector
from brule.detector.plausibility import THRESHOLD
from brule.detector.prediction import Box, Prediction
from brule.errors import BruleError
from brule.files import atomic

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
LARGEST = 2**26
"""Pixels of a frame, at most: twice those of 8K. A small file can hold vast ones."""
_FORMATS = "asf,avi,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,m4v,h264,hevc,ogg"
"""FFmpeg's names for what SUFFIXES stand for."""
INSTALL = "pip install -e '.[video]' -c constraints.txt"
_TICKS = 90_000  # per second, in the times of a written file
_CRF = {"crf": "18"}  # for x264: almost indistinguishable from the original


class Frame(NamedTuple):
    """One picture of a video."""

    number: int
    """From 0."""
    time: float
    """Seconds since the first."""
    pixels: Pixels
    """(H, W, 3), RGB, turned upright as the file says."""


def length(path: Path) -> int:
    """Roughly how many frames a video has; 0 if it does not say. Raises BruleError like `frames`."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        return stream.frames or round(float((container.duration or 0) * (stream.average_rate or 0)) / 1e6)


def frames(path: Path) -> Iterator[Frame]:
    """The frames of a video, one in memory at a time.

    Raises BruleError naming the file if PyAV is missing, if the file is missing or not a video, or, at the frame where
    this shows, if it is damaged.
    """
    with _opened(path) as container:
        yield from _decoded(container.decode(container.streams.video[0]), container.streams.video[0], path)


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    av = _av(path)
    if not path.is_file():
        raise BruleError(f"{path}: there is no such file; give the path of a video")
    try:
        # Only this file: a playlist disguised as a video may name other files and other computers, and a text or a
        # picture is no video, whatever it is called.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file", "format_whitelist": _FORMATS}) as container:
            if not container.streams.video:
                raise BruleError(f"{path}: has no pictures in it; give a video")
            decoder = container.streams.video[0].codec_context
            if decoder.width * decoder.height > LARGEST:
                raise BruleError(
                    f"{path}: has frames of {decoder.width}x{decoder.height} pixels, but at most {LARGEST} are "
                    "decoded; reduce it"
                )
            decoder.options = {"max_pixels": str(LARGEST)}  # a later frame may be larger
            yield container
    except av.FFmpegError as error:
        reason = " ".join(str(error.strerror or error).lower().split())
        raise BruleError(f"{path}: is not a whole video ({reason}); give another one, or convert it again") from None


def _decoded(decoded: Iterator[VideoFrame], stream: VideoStream, path: Path) -> Iterator[Frame]:
    rate, number, start, size = float(stream.average_rate or 25), -1, 0.0, (0, 0)
    for number, frame in enumerate(decoded):
        time = number / rate if frame.time is None else frame.time
        if not number:
            start, size = time, (frame.width, frame.height)
        pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        # FFmpeg turns counterclockwise, like np.rot90.
        upright = np.rot90(pixels, round(frame.rotation / 90))
        yield Frame(number, time - start, np.ascontiguousarray(upright))
    if number < 0:
        raise BruleError(f"{path}: has no pictures in it; give a video")


@contextmanager
def written(path: Path) -> Iterator[Callable[[Pixels, float], None]]:
    """Yield a function that adds a picture (H, W, 3) and its time, in seconds, to a silent .mp4 at `path`.

    Atomic. H.264 wants even sides, so an odd picture loses its last row or column.
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
        raise BruleError(f"{path}: videos need the library PyAV; run {INSTALL}") from None
    return av


@dataclass
class OneEuro:
    """x̂ᵢ = α xᵢ + (1 − α) x̂ᵢ₋₁, a low-pass filter whose cutoff f rises with the speed: calm at rest, prompt in motion.

    α(f) = 1 / (1 + 1 / (2π f Δt)), f = f_min + β |v̂| / w, where v̂ is a landmark's velocity, itself filtered with the
    cutoff f_v, and w the width of all landmarks, so that the resolution makes no difference. At rest and with β = 0 the
    filter leaves α / (2 − α) of the variance of noise, α = α(f_min), and somewhat more with β > 0, which mistakes noise
    for motion. At a steady s widths per second a landmark trails by s / (2π (f_min + β s)) widths, which is less than
    1 / (2π β) at any speed.
    """

    f_min: float = 1.0
    """Hz. The lower, the calmer at rest."""
    beta: float = 30.0
    """Hz per width and second. The higher, the less the points trail."""
    f_v: float = 3.0
    """Hz. The lower, the calmer at rest, and the later motion is noticed."""
    _raw: Points | None = field(default=None, init=False)
    _last: Points | float = field(default=0.0, init=False)
    _velocity: Points | float = field(default=0.0, init=False)
    _time: float = field(default=0.0, init=False)

    def __call__(self, points: Points, time: float) -> Points:
        """x̂ for points (K, 2) in pixels at a time in seconds. The first points, and points at no later time, stay."""
        step, width = time - self._time, float(np.ptp(points[:, 0]))
        if self._raw is None or not step > 0 or not width > 0:
            self._raw, self._last, self._velocity, self._time = points, points, 0.0, time
            return points
        a = _alpha(self.f_v, step)
        self._velocity = a * (points - self._raw) / step + (1 - a) * self._velocity
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True) / width  # (K, 1)
        alpha = _alpha(self.f_min + self.beta * speed, step)
        smoothed: Points = alpha * points + (1 - alpha) * self._last
        self._raw, self._last, self._time = points, smoothed, time
        return smoothed


def _alpha(cutoff: npt.NDArray[np.float64] | float, step: float) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + 1 / (2 * math.pi * cutoff * step)))


_APART = 0.25
"""Two answers further apart than this, on average and in widths of the landmarks, show different objects."""


def follow(
    detector: Detector, frames: Iterable[Frame], box: Box | None, refine: bool | None, smooth: bool
) -> Iterator[tuple[Frame, Prediction]]:
    """Each frame with its landmarks.

    With refine = False the detector looks at every frame by itself, in the middle or at the box. Otherwise it looks
    around the points of the previous frame. Where it knows that the answer is plausible, that is all. Where not, and at
    the first frame, it looks afresh, like `Detector.predict` with this `refine`, which by default searches the whole
    frame. If the two answers then show different objects, one of them has lost the object, and the more plausible one
    is kept; of a detector that knows no plausibility, the more confident one. `smooth` applies the one-euro filter,
    which restarts when the points jump.
    """
    calm, before = OneEuro(), None
    for frame in frames:
        near = None if before is None or refine is False else _near(detector, frame, before)
        try:
            lost = near is None or near.plausibility is None or near.plausibility < THRESHOLD
            found = _agreed(near, detector.predict(frame.pixels, box, refine)) if near is None or lost else near
        except BruleError as error:  # which calls every frame image 0
            raise BruleError(str(error).replace("image 0", f"frame {frame.number}", 1)) from None
        if before is not None:
            calm = OneEuro() if _elsewhere(before, found) else calm
        before = found
        yield frame, replace(found, points=calm(found.points, frame.time)) if smooth else found


def _near(detector: Detector, frame: Frame, before: Prediction) -> Prediction | None:
    """The landmarks around the points of the previous frame. None if no square can be cut there."""
    low, size = before.points.min(0), np.ptp(before.points, axis=0)
    try:
        found: Prediction = detector.predict(frame.pixels, [*low, *size], refine=False)
        return found
    except BruleError:
        return None


def _agreed(near: Prediction | None, anew: Prediction) -> Prediction:
    """`near`, unless the two disagree and `anew` is more plausible, or more confident where that is all one knows.

    If they agree, neither decides anything: a view from further away is sharper in its map, but less exact.
    """
    if near is None:
        return anew
    return anew if _elsewhere(near, anew) and _surety(anew) > _surety(near) else near


def _surety(found: Prediction) -> float:
    return float(found.confidence.mean()) if found.plausibility is None else found.plausibility


def _elsewhere(one: Prediction, other: Prediction) -> bool:
    apart = np.linalg.norm(one.points - other.points, axis=-1).mean()
    return bool(apart > _APART * np.ptp(other.points[:, 0]))
