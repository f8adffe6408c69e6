"""What is asked and what is answered, in JSON: the protocol of MLflow's own servers, `inputs` in, `predictions` out.

{"inputs": [{"image": "iVBORw0KGgo…", "box": [210, 180, 260, 270], "refine": true}]}
{"predictions": [{"names": ["left eye", …], "points": [[x, y], …], "confidence": [0.93, …]}]}


Questions to answers: the detector's own, bit for bit, or one sentence that names the question at fault."""

import base64
import json
from collections.abc import Iterable, Sequence
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

EXAMPLE = '{"inputs": [{"image": "…"}]}'
_MENDS = {
    "inputs": f"send {EXAMPLE}",
    "image": "give an image file in base64",
    "pixels": "give rows of [red, green, blue], each from 0 to 255",
    "box": "give left, top, width and height in pixels",
    "refine": "give true or false",
}
_Byte = Annotated[int, Field(ge=0, le=255)]
# MLflow reads the plain type of a field. This stands beside it, since it refuses an array at its first wrong number.
_PIXELS = TypeAdapter(Annotated[list[Annotated[list[Annotated[list[_Byte], FailFast()]], FailFast()]], FailFast()])


class Question(BaseModel):
    """One photo, a file or an array, and what is known about it."""

    model_config = ConfigDict(extra="allow")  # `_sound` tells the first unknown key; "forbid" would collect them all

    image: str | None = None
    """An image file (PNG, JPEG, …) in base64; a `data:` URL as browsers make them will do."""
    pixels: list[list[list[int]]] | None = None
    """Or its pixels (H, W, 3), rows of [red, green, blue] from 0 to 255; grey is (H, W, 1), with alpha (H, W, 4)."""
    box: list[float] | None = Field(None, min_length=4, max_length=4)
    """Left, top, width and height of the landmarks' box in the photo's pixels; None: the largest square is cut."""
    refine: bool | None = False
    """Look again, close around what was found, until that comes to rest."""

    @field_validator("pixels", mode="plain")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        try:
            return None if value is None else _PIXELS.validate_python(value, strict=True)
        except ValidationError as error:
            place, what = _first(error)
            raise ValueError(f"at {place} {what}" if place else what) from None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if unknown := next(iter(self.model_extra or ()), None):
            raise ValueError(f"{unknown[:40]!r} is none of {', '.join(type(self).model_fields)}")
        if (self.image is None) == (self.pixels is None):
            raise ValueError("give either image, a file in base64, or pixels, rows of [red, green, blue]")
        return self


class Answer(BaseModel):
    """The landmarks of one photo."""

    names: list[str]
    """(K)."""
    points: list[list[float]]
    """(K, 2), x and y in pixels of the photo as it is displayed; 0 is the centre of its first pixel."""
    confidence: list[float]
    """(K) in [0, 1]: how sharply each landmark is seen."""


class _Request(BaseModel):
    inputs: Annotated[list[Question], FailFast()]


def parse(body: bytes) -> list[Question]:
    """The questions of a request. Raises BruleError: no JSON, or the first place in it that is wrong."""
    try:
        return _Request.model_validate_json(body, strict=True).inputs
    except ValidationError as error:
        place, what = _first(error)
        key = next((str(part) for part in reversed(_where(error)) if part in _MENDS), "inputs")
        mend = "" if "give" in what else f"; {_MENDS[key]}"
        raise BruleError(f"{place or 'the request'}: {what}{mend}") from None


def reply(answers: Sequence[Answer]) -> bytes:
    """The body of the response."""
    return json.dumps({"predictions": [answer.model_dump() for answer in answers]}, allow_nan=False).encode()


def _where(error: ValidationError) -> tuple[int | str, ...]:
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]


def _first(error: ValidationError) -> tuple[str, str]:
    """The place and the fault: ("inputs[0].box[2]", "input should be a valid number")."""
    words = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
    words = words.removeprefix("Value error, ")
    return _path(_where(error)), f"{words[:1].lower()}{words[1:]}"


def _path(parts: Iterable[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


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
