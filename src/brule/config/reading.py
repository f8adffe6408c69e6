"""params.yaml → the whole of the parameters, checked; and what names a run: flat names, the fingerprint."""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from brule.config.schema import Config, Stage, WrongError
from brule.documents import parse_yaml, read_text
from brule.errors import BruleError, brief, public, quoted
from brule.maths.family import Family


def read(path: Path | str) -> Config:
    """Read and check a parameter file (YAML 1.2: `1e5` is a number). Raises BruleError naming file, key and mend."""
    if not Path(path).exists():
        raise BruleError(f"{path} does not exist; run this from the project's root")
    return parse(parse_yaml(read_text(path), path), str(path))


def parse(raw: object, origin: str = "parameters") -> Config:
    """Check a nested mapping of parameters. Raises BruleError naming the first wrong key."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise BruleError(f"{origin}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    value = quoted(first["input"])
    key = ".".join(brief(str(part)) for part in first["loc"] if part != "[key]")
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = [*_keys(Config), *_named_keys(first["loc"])]
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        return f"{key} is not a parameter" + (
            f"; did you mean {close[0]}?" if close else "; see params.yaml for those there are"
        )
    if first["type"] == "value_error":
        wrong = first["ctx"]["error"]
        if first["loc"][:1] == ("warp",):  # a family's own check, which knows the value but not where it stands
            return f"{key}.{wrong}"
        return f"{key} = {value}: {wrong}" if isinstance(wrong, WrongError) else str(wrong)
    if not first["loc"]:
        return "holds no parameters; params.yaml as committed shows them"
    if first["type"] in ("model_type", "dict_type", "dataclass_type"):
        return f"{key} = {value}: is a group of parameters, not a value; set one of them, as {key}.NAME"
    if first["type"] == "tuple_type":
        return f"{key} = {value}: should be a list, as in [36, 45]"
    if first["type"] == "missing":
        return f"{key} is missing; params.yaml as committed shows its default"
    return f"{key} = {value}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _keys(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{key}.")


def _named_keys(place: tuple[int | str, ...]) -> Iterable[str]:
    """The keys of the stage or the family in which an unknown one was met."""
    fields = {"stages": list(Stage.model_fields), "warp": [field.name for field in dataclasses.fields(Family)]}
    names = fields.get(str(place[0]), [])
    return [f"{place[0]}.{place[1]}.{name}" for name in names] if len(place) == 3 else []


def flatten(section: BaseModel) -> dict[str, Any]:
    """{'loss.c7': 1e5, …}: every parameter under its dotted name, as DVC and MLflow show it, without secrets."""
    flat: dict[str, Any] = {}

    def visit(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                visit(inner, f"{key}.{name}" if key else str(name))
        else:
            flat[key] = public(value) if isinstance(value, str) else value

    visit(section.model_dump(mode="json", by_alias=True), "")
    return flat


def fingerprint(config: Config, sections: Collection[str], files: Iterable[Path]) -> str:
    """16 hexadecimal digits that change whenever a parameter of these sections, the order of the stages or a byte of
    these files does."""
    chosen = {key: value for key, value in flatten(config).items() if key.partition(".")[0] in sections}
    digest = hashlib.sha256(json.dumps(chosen).encode())
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
