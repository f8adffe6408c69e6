"""Whatever stands in a parameter or in a YAML: a valid run, or one short sentence, in no time and little memory."""

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brule import config
from brule.data.prepared import read_manifest
from brule.documents import DEEPEST, LARGEST_YAML, parse_json, parse_yaml
from brule.errors import LONGEST, BruleError, brief, counted, quoted
from brule.stages import experiments, table

ROOT = Path(__file__).parents[1]
RAW = experiments.workspace(ROOT)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


ODD = {
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": -float("inf"),
    "1e308": 1e308,
    "-1": -1,
    "0": 0,
    "10**30": 10**30,
    "10**9": 10**9,
    "digits": 1 << 100_000,
    "long": "x" * 10_000,
    "lines": "a\nb\0c",
    "half": "\ud800",
    "[]": [],
    "{}": {},
    "null": None,
    "true": True,
    "deep": nested(100_000),
    "wide": list(range(10_000)),
    "1: 1": {1: 1},
}


def places(section: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in section.items() if isinstance(section, dict) else ():
        yield (*above, key)
        yield from places(value, (*above, key))


def replaced(section: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy in which this value stands there; what lies beside the way is shared."""
    head, *rest = place
    return section | {head: replaced(section[head], tuple(rest), value) if rest else value}


def sentence(error: BruleError) -> str:
    text = str(error)
    assert len(text) < 400 and text.isprintable()
    return text


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_value_in_any_place_gives_a_valid_run_or_a_sentence_with_the_key(odd: str) -> None:
    for place in places(RAW):
        try:
            config.parse(replaced(RAW, place, ODD[odd]), "params.yaml")
        except BruleError as error:
            told = sentence(error)
            assert ".".join(place) in told or (place == ("warp",) and "`warp`" in told)


@pytest.mark.parametrize("key", ["x" * 10_000, "a b", "a\nb", "", 1, None])
@pytest.mark.parametrize("place", [(), *(place for place in places(RAW) if place[-1] in RAW or place[0] == "stages")])
def test_an_odd_key_is_a_sentence(place: tuple[str, ...], key: Any) -> None:
    section: Any = RAW
    for name in place:
        section = section[name]
    if isinstance(section, dict):
        with pytest.raises(BruleError) as error:
            config.parse(replaced(RAW, place, section | {key: 1}) if place else RAW | {key: 1})
        assert ".".join(place) in sentence(error.value)


@pytest.mark.parametrize("key", ["stages", "warp"])
def test_there_are_no_thousands_of_stages(key: str) -> None:
    first = next(iter(RAW[key].values()))
    with pytest.raises(BruleError, match=rf"^parameters: {key} = .*at most 100 items") as error:
        config.parse(RAW | {key: {f"s{k}": first for k in range(5000)} | RAW[key]})
    sentence(error.value)


WAYS = {
    "bomb": "\n".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}' if k else 'x'] * 10)}]" for k in range(12)),
    "merged": "\n".join(f"a{k}: &a{k}\n  <<: [{', '.join([f'*a{k - 1}'] * 9 if k else [])}]" for k in range(12)),
    "circle": "a: &a [*a]",
    "deep": "a: " + "[" * 50_000,
    "braces": "{a: " * 10_000,
    "dashes": "- " * 10_000 + "a",
    "dots": ".".join("a" * 5000) + ": 1",
    "long": "a: " + "x" * 10**7,
    "many": "a: [" + "1," * 30_000 + "]",
    "cut": "loss: {c7: [1,\n",
    "tag": "a: !!python/object/apply:os.system [ls]",
    "date": "a: 2001-13-45",
    "digits": "a: " + "9" * 10_000,
    "float": "a: !!float x",
    "int": "a: !!int x",
    "binary": "a: !!binary \u00e9",
    "key": "{[1]: 2}",
    "twice": "a: 1\na: 2",
    "no alias": "a: *b",
    "control": "a: \x01",
    "tab": "\ta: 1",
    "two": "a: 1\n---\nb: 2",
    "name": "a: &" + "n" * 10_000 + " [*" + "n" * 10_000 + "]",
    "directive": "%YAML 9.9\n---\na: 1",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_yaml_that_is_none_or_a_bomb_is_a_sentence_at_once(tmp_path: Path, way: str) -> None:
    path, start = tmp_path / "params.yaml", time.process_time()
    path.write_text(WAYS[way])
    with pytest.raises(BruleError, match=r"params\.yaml") as error:
        config.read(path)
    assert len(str(error.value)) < 400 + len(str(tmp_path)) and "\n" not in str(error.value)
    (tmp_path / "experiments").mkdir()
    path.rename(tmp_path / "experiments" / "odd.yaml")
    with pytest.raises(BruleError):
        config.parse(experiments.merge(RAW, experiments.load(tmp_path / "experiments", "odd")))
    assert time.process_time() - start < 10


@pytest.mark.parametrize("text", [f"loss.c7={WAYS['deep']}", f"loss.c7={'x' * 10_000}", ".".join("a" * 5000) + "=1"])
def test_an_odd_setting_is_a_sentence(text: str) -> None:
    with pytest.raises(BruleError) as error:
        config.parse(experiments.merge(RAW, experiments.assignment(text)))
    sentence(error.value)


@pytest.mark.parametrize("way", ["bomb", "merged"])
def test_a_bomb_takes_no_memory(way: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BruleError, match=r"^f: holds more than 20000 values"):
            parse_yaml(WAYS[way], "f")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_aliases_that_stand_for_little_are_welcome() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", "f") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }
    assert parse_yaml("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), "f") == nested(DEEPEST - 2)
    assert parse_yaml("# " + "x" * (LARGEST_YAML - 2), "f") is None


@pytest.mark.parametrize("odd", [name for name in ODD if name != "half"])
def test_an_odd_value_in_a_table_is_a_sentence(tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments" / "tables").mkdir(parents=True)
    (tmp_path / "experiments" / "tables" / "t.yaml").touch()
    raw = experiments.load(ROOT / "experiments" / "tables", "table1")
    for place in [("title",), ("groups",), ("rows",), ("splits",), ("anchors",)]:
        monkeypatch.setattr(experiments, "load", lambda *_, place=place: replaced(raw, place, ODD[odd]))
        try:
            table.read(tmp_path, "t")
        except BruleError as error:
            sentence(error)


JSON = {
    "deep": "[" * 200_000,
    "digits": f'{{"a": {"9" * 10_000}}}',
    "cut": '{"a": ',
    "bytes": b"\xff\xfe\xfa{}",
    "list": "[]",
    "empty": "",
}


@pytest.mark.parametrize("way", JSON)
def test_a_json_that_is_none_is_a_sentence(tmp_path: Path, way: str) -> None:
    text, path = JSON[way], tmp_path / "manifest.json"
    if way != "list":
        with pytest.raises(BruleError, match=r"^f.json"):
            parse_json(text, "f.json")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BruleError, match=r"manifest\.json: is damaged; run it again"):
        read_manifest(path, "run it again")


@pytest.mark.parametrize("odd", ODD)
def test_a_quoted_value_is_short(odd: str) -> None:
    assert 0 < len(quoted(ODD[odd])) <= 60 and quoted(ODD[odd]).isprintable()
    assert quoted("plain") == "'plain'" and quoted(1e-5) == "1e-05" and quoted([1, "a"]) == "[1, 'a']"
    assert brief("x" * 61) == "x" * 59 + "…" and brief("x" * 60) == "x" * 60


@pytest.mark.parametrize("name", ["x" * 5000, "9" * 400, "a\nb" * 100, "\u202e\x1b[31m" * 50, "\ud800" * 90, "a.png"])
def test_a_sentence_is_one_line_that_keeps_the_file_and_the_mend_whatever_the_name(name: str) -> None:
    told = str(BruleError(f"raw/{name}: does not exist; correct the path"))
    assert told.isprintable() and len(told) <= LONGEST < 400
    assert told.startswith(f"raw/{name[0] if name[0].isprintable() else repr(name[0])[1:-1]}")
    assert told.endswith(": does not exist; correct the path")
    assert str(BruleError(told)) == told


def test_one_of_a_thing_is_singular() -> None:
    assert [counted(number, "photo") for number in (0, 1, 12)] == ["0 photos", "1 photo", "12 photos"]


def test_a_name_is_shown_letter_by_letter() -> None:
    assert str(BruleError("new\nline  \t.png: is no 'image'\u2028")) == r"new\nline  \t.png: is no 'image'\u2028"
    assert brief("it's\n") == r"it's\n"
