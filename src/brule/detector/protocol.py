"""What is asked and answered in JSON, over HTTP by `brule serve` and by MLflow's own servers alike.

{"inputs": [{"image": "iVBORw0KGgo…", "box": [210, 180, 260, 270], "refine": true}]}
{"predictions": [{"names": ["left eye", …], "points": [[x, y], …], "confidence": [0.93, …], "plausibility": 0.9}]}

The answers are exactly what `Detector.predict` says of each photo by itself: JSON keeps every digit of a float. A bad
request gets one sentence, which names the first fault by its place, such as inputs[0].box[2].
"""

import base64
import json
import math
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from brule.data.photos import Photo
from brule.detector.model import Detector
from brule.errors import BruleError

MOST = 2_000_000
"""Numbers in a request, such as the pixels of a photo of 800 by 800. Each takes hundreds of bytes of memory."""
_MENDS = {
    "inputs": 'send {"inputs": [{"image": "…"}]}',
    "image": "give an image file in base64",
    "pixels": "give rows of [red, green, blue], each from 0 to 255",
    "box": "give left, top, width and height in pixels",
    "refine": "give true or false",
}
_Byte = Annotated[int, Field(ge=0, le=255)]
# MLflow reads the plain type of the field `pixels`. This one refuses an array at its first wrong number.
_PIXELS = TypeAdapter(Annotated[list[Annotated[list[Annotated[list[_Byte], FailFast()]], FailFast()]], FailFast()])


class Question(BaseModel):
    """One photo, as a file or an array, and what is known about it."""

    model_config = ConfigDict(extra="allow")  # `_sound` reports the first unknown key; "forbid" would list them all

    image: str | None = None
    """An image file (PNG, JPEG, …) in base64. A `data:` URL, as browsers make them, will do as well."""
    pixels: list[list[list[int]]] | None = None
    """Or its pixels (H, W, 3): rows of [red, green, blue] from 0 to 255. Grey is (H, W, 1), with alpha (H, W, 4)."""
    box: list[float] | None = Field(None, min_length=4, max_length=4)
    """Left, top, width and height of the landmarks' box in pixels. Without it the object is searched for."""
    refine: bool | None = None
    """As in `Detector.predict`: false looks once, true looks again but searches nothing; left out: the better way."""

    @field_validator("pixels", mode="plain")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        try:
            return None if value is None else _PIXELS.validate_python(value, strict=True)
        except ValidationError as error:
            place, fault = _first(error)
            raise ValueError(f"at {_path(place)} {fault}" if place else fault) from None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if unknown := next(iter(self.model_extra or ()), None):
            raise ValueError(f"{unknown[:40]!r} is not one of {', '.join(type(self).model_fields)}")
        if (self.image is None) == (self.pixels is None):
            raise ValueError("give either image, a file in base64, or pixels, rows of [red, green, blue]")
        return self


class Answer(BaseModel):
    """The landmarks of one photo."""

    names: list[str]
    """(K)."""
    points: list[list[float]]
    """(K, 2), x and y in pixels of the photo as displayed; 0 is the centre of the first pixel."""
    confidence: list[float]
    """(K) in [0, 1]: how clearly each landmark is seen."""
    plausibility: float | None = None
    """In [0, 1]; below ½ the photo is unlike what the detector was trained on. null: the detector does not know."""


class _Request(BaseModel):
    inputs: Annotated[list[Question], FailFast()]


def respond(detector: Detector, body: bytes, seconds: float = math.inf) -> bytes:
    """The body of a request → that of its response. Raises BruleError, naming the first fault in the request.

    seconds: how long the answer may take. After a photo that ends later, the rest is not answered.
    """
    end = time.monotonic() + seconds
    if body.count(b",") > MOST:
        raise BruleError(f"the request: holds more than {MOST:,} numbers; send large photos as files in base64")
    try:
        questions = _Request.model_validate_json(body, strict=True).inputs
    except ValidationError as error:
        place, fault = _first(error)
        key = next((str(part) for part in reversed(place) if part in _MENDS), "inputs")
        mend = "" if "give" in fault else f"; {_MENDS[key]}"
        raise BruleError(f"{_path(place) or 'the request'}: {fault}{mend}") from None
    predictions = [found.model_dump() for found in answer(detector, questions, end)]
    return json.dumps({"predictions": predictions}, allow_nan=False).encode()


def answer(detector: Detector, questions: list[Question], end: float = math.inf) -> list[Answer]:
    """What `Detector.predict` says of each photo alone. Raises BruleError naming the first that it cannot answer.

    end: the time, by the monotonic clock, after which no further photo is begun.
    """
    found: list[Answer] = []
    for index, question in enumerate(questions):
        if time.monotonic() > end:
            raise BruleError(f"inputs[{index}]: the time for one request is over; send fewer photos at once")
        found.append(_answer(detector, question, f"inputs[{index}]"))
    return found


def _answer(detector: Detector, question: Question, name: str) -> Answer:
    if question.image is None:
        return _found(detector, _array(question, name), question, name)
    # A file, so that it is read like those of `brule predict`: PIL decodes large JPEGs at a lower resolution.
    with NamedTemporaryFile(prefix="brule-") as stream:
        stream.write(_decoded(question.image, name))
        stream.flush()
        return _found(detector, Path(stream.name), question, name)


def _found(detector: Detector, photo: Photo, question: Question, name: str) -> Answer:
    try:
        found = detector.predict(photo, question.box, question.refine)
    except BruleError as error:  # it begins with the name of the temporary file, which means nothing to the client
        raise BruleError(f"{name}: {str(error).partition(': ')[2] or error}") from None
    points, confidence = found.points.tolist(), found.confidence.tolist()
    return Answer(names=list(found.names), points=points, confidence=confidence, plausibility=found.plausibility)


def _decoded(text: str, name: str) -> bytes:
    head, _, tail = text[:200].partition(",")
    data = text[len(head) + 1 :] if head.startswith("data:") and tail else text
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except ValueError:
        raise BruleError(f"{name}.image: is not base64; encode an image file, as `base64 photo.jpg` does") from None


def _array(question: Question, name: str) -> np.ndarray:
    try:
        return np.array(question.pixels, np.uint8)
    except ValueError:
        raise BruleError(f"{name}.pixels: its rows or pixels differ in length; make them all the same") from None


def _first(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """The place and the fault: (("inputs", 0, "box", 2), "input should be a valid number")."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    words = first["msg"].removeprefix("Value error, ")
    return first["loc"], f"{words[:1].lower()}{words[1:]}"


def _path(place: tuple[int | str, ...]) -> str:
    """("inputs", 0, "box", 2) → "inputs[0].box[2]"."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
