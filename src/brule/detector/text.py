"""Predictions as text: CSV and JSON for photos and for the frames of a video, and an iBUG `.pts` for one photo."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from brule.data.pts import format_pts
from brule.detector.prediction import Prediction
from brule.files import shown

Answers = Mapping[Path, Prediction]
"""Photo → its landmarks, in the order of the photos."""

FRAMES = "frame,time,name,x,y,confidence,plausibility\n"
"""The header of a video's CSV."""


def csv_text(answers: Answers) -> str:
    """One line per landmark: image, name, x and y in the photo's pixels (0: the centre of the first), confidence; and
    the plausibility of the whole answer, which is empty where the detector does not know."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "name", "x", "y", "confidence", "plausibility"])
    for path, answer in answers.items():
        writer.writerows([shown(path), *row, _plausibility(answer)] for row in _rows(answer))
    return stream.getvalue()


def json_text(answers: Answers) -> str:
    """The same, a line per photo:
    [{"image": …, "plausibility": …, "landmarks": [{"name": …, "x": …, "y": …, "confidence": …}, …]}, …]."""
    lines = [_json({"image": shown(path), **_content(answer)}) for path, answer in answers.items()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def frame_csv(number: int, time: float, answer: Prediction) -> str:
    """The lines of one frame, below FRAMES: its number from 0, its time in seconds, and the columns of `csv_text`."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(
        [number, round(time, 4), *row, _plausibility(answer)] for row in _rows(answer)
    )
    return stream.getvalue()


def frame_json(number: int, time: float, answer: Prediction) -> str:
    """One frame as an element of a list: {"frame": …, "time": …}, and `json_text`'s plausibility and landmarks."""
    return _json({"frame": number, "time": round(time, 4), **_content(answer)})


def pts_text(answer: Prediction) -> str:
    """The landmarks of one photo, without names and confidence, in pixels that count from 1 as the format demands."""
    return format_pts(answer.points)


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _content(answer: Prediction) -> dict[str, object]:
    landmarks = [dict(zip(("name", "x", "y", "confidence"), row, strict=True)) for row in _rows(answer)]
    return {"plausibility": _plausibility(answer), "landmarks": landmarks}


def _plausibility(answer: Prediction) -> float | None:
    return None if answer.plausibility is None else round(answer.plausibility, 4)


def _rows(answer: Prediction) -> Iterator[tuple[str, float, float, float]]:
    for name, (x, y), sure in zip(answer.names, answer.points.tolist(), answer.confidence.tolist(), strict=True):
        yield name, round(x, 3), round(y, 3), round(sure, 4)
