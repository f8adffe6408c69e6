"""Questions to answers: the detector's own, bit for bit, or one sentence that names the question at fault."""

import base64
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from brule.detector import Detector
from brule.errors import BruleError
from brule.photos import Photo
from brule.serving.protocol import Answer, Question


def answer(detector: Detector, questions: list[Question]) -> list[Answer]:
    """What `Detector.predict` says of each photo alone. Raises BruleError naming the first that it cannot answer."""
    return [_answer(detector, question, f"inputs[{index}]") for index, question in enumerate(questions)]


def _answer(detector: Detector, question: Question, name: str) -> Answer:
    if question.image is None:
        return _found(detector, _array(question, name), question, name)
    # A file, so that it is read as those of `brule predict` are: large JPEGs are decoded coarser from a file alone.
    with NamedTemporaryFile(prefix="brule-") as stream:
        stream.write(_decoded(question.image, name))
        stream.flush()
        return _found(detector, Path(stream.name), question, name)


def _found(detector: Detector, photo: Photo, question: Question, name: str) -> Answer:
    try:
        found = detector.predict(photo, question.box, bool(question.refine))
    except BruleError as error:  # it begins with the file's name, which says nothing to whoever asked
        raise BruleError(f"{name}: {str(error).partition(': ')[2] or error}") from None
    points, confidence = found.points.tolist(), found.confidence.tolist()
    return Answer(names=list(found.names), points=points, confidence=confidence)


def _decoded(text: str, name: str) -> bytes:
    head, _, tail = text[:200].partition(",")
    data = text[len(head) + 1 :] if head.startswith("data:") and tail else text
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except ValueError:
        raise BruleError(f"{name}.image: is not base64; encode an image file, as `base64 face.jpg` does") from None


def _array(question: Question, name: str) -> np.ndarray:
    try:
        return np.array(question.pixels, np.uint8)
    except ValueError:
        raise BruleError(f"{name}.pixels: its rows or its pixels differ in length; give an even array") from None
