"""The texts, JSON and YAML that a user may have written: read here, within limits of size and depth."""

import codecs
import json
from pathlib import Path
from typing import Any

from brule.errors import BruleError, brief

LARGEST = 2**30
"""Bytes of a text. One that is larger would fill the memory."""
LARGEST_YAML = 2**16
"""Characters of a YAML, which a person writes. The largest of the project's own has a quarter of it."""
DEEPEST = 50
"""Groups and lists inside each other."""
MOST_VALUES = 20_000
"""Values of a YAML once every alias (`*name`) is replaced by what it stands for."""


def read_text(path: Path | str) -> str:
    """A text file, whatever its bytes. What is not UTF-8 (or marked UTF-16) becomes a character that no number has."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise BruleError(f"{path}: is larger than {LARGEST >> 30} GB, as no such file is; divide it")
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise BruleError(f"{path}: does not exist; correct the path") from None
    except OSError as error:
        raise BruleError(f"{path}: cannot be read ({error.strerror}); correct the path or its permissions") from None


def parse_json(text: str | bytes, origin: Path | str) -> Any:
    """What a JSON holds. Raises BruleError naming its origin, and the line if it is not JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BruleError(f"{origin}, line {error.lineno}: not valid JSON ({error.msg}); correct the file") from None
    except RecursionError:
        raise BruleError(f"{origin}: is nested too deeply; correct the file") from None
    except UnicodeDecodeError:
        raise BruleError(f"{origin}: is not a text in UTF-8; correct the file") from None
    except ValueError:  # Python's limit on the digits of a whole number
        raise BruleError(f"{origin}: holds a number of thousands of digits; correct the file") from None


def parse_yaml(text: str, origin: Path | str) -> Any:
    """What a YAML 1.2 holds (`1e5` is a number). Raises BruleError naming its origin, and the place of an error."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > LARGEST_YAML:
        raise BruleError(f"{origin}: is longer than {LARGEST_YAML} characters, as no such YAML is; correct the file")
    try:
        _limit(text, origin)
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise BruleError(f"{origin} is not valid YAML: {_told(error)}; correct it") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # from a tag or a date, such as 2001-13-45
        raise BruleError(f"{origin} is not valid YAML: {brief(str(error))}; correct it") from None


def _limit(text: str, origin: Path | str) -> None:
    """Refuse a YAML that is too deep, or too large once its aliases are written out. Nothing is built meanwhile."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

    counts, anchors = [0], list[str | None]()  # the values of every group that is open, and its name
    known: dict[str | None, int] = {}
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionStartEvent):
            counts.append(1)
            anchors.append(event.anchor)
        elif isinstance(event, CollectionEndEvent):
            count = counts.pop()
            known[anchors.pop()] = count
            counts[-1] += count
        elif isinstance(event, AliasEvent):
            if event.anchor in anchors:
                raise BruleError(f"{origin}: *{brief(event.anchor)} stands inside itself; write out what is meant")
            counts[-1] += known.get(event.anchor, 1)
        elif isinstance(event, ScalarEvent):
            counts[-1] += 1
        if len(counts) > DEEPEST:
            raise BruleError(f"{origin}: is nested more than {DEEPEST} levels deep; correct it")
        if sum(counts) > MOST_VALUES:
            raise BruleError(f"{origin}: holds more than {MOST_VALUES} values, its aliases written out; shorten it")


def _told(error: Exception) -> str:
    """ruamel's words, in one line and without the lines of the file that it shows."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{brief(' '.join(str(problem or error).split()))}{place}"
