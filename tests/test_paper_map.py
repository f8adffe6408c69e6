"""The paper map of docs/paper.md, symbol → file → name, points at what exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def test_the_paper_map_is_true() -> None:
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    section = re.search(r"^#+ *paper map *$(.*?)(?=^#|\Z)", page, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    assert section, "docs/paper.md has no heading 'Paper map'"
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in section[1].splitlines() if "|" in line]
    assert [cell.lower() for cell in rows[0]] == ["symbol", "file", "name"]
    assert len(rows) > 20, "the map is short of symbols"
    for symbol, file, names in rows[2:]:
        path = next(
            (place for place in (ROOT / code(file)[0], ROOT / "src" / "brule" / code(file)[0]) if place.is_file()), None
        )
        assert path, f"{symbol}: there is no {file}"
        missing = set(code(names)) - definitions(path)
        assert not missing, f"{symbol}: {file} defines no {missing}"


def code(cell: str) -> list[str]:
    """What a cell of the table shows in backticks, or bare; links to files count as their text."""
    return [word.removesuffix("()") for word in re.findall(r"`([^`]+)`", cell) or re.split(r"[\s,]+", cell)]


def definitions(path: Path) -> set[str]:
    """Functions, classes, constants and methods (`Class.method`) of a Python file; dotted keys of a YAML file."""
    if path.suffix in {".yaml", ".yml"}:
        return set(dotted(YAML(typ="safe").load(path)))
    return set(named(ast.parse(path.read_text(encoding="utf-8")).body))


def named(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from named(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (f"{prefix}{target.id}" for target in targets if isinstance(target, ast.Name))


def dotted(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
