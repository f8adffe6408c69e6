"""The docs: short, and every file, command and parameter that they name exists."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from brule.cli import command
from brule.config import Config, Stage, flatten, read
from brule.maths.family import Family

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("data", "benchmarks")),
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """`loss`, `loss.c7`, …: sections and their keys, those that are switches and may be left out, too."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Stage:
                yield from keys(kind, f"{key}.")


def parameters() -> set[str]:
    config = read(ROOT / "params.yaml")
    found = {*flatten(config), *keys(Config)}
    found |= {f"stages.{stage}.{name}" for stage in config.stages for name in Stage.model_fields}
    families = {field.name for field in dataclasses.fields(Family)}
    return found | {f"warp.{family}.{name}" for family in config.warp for name in families}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@each_page
def test_every_link_and_picture_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if not link.startswith(("http", "#"))]
    assert not [link for link in local if not (page.parent / link).exists()]


@each_page
def test_every_command_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    scripts = re.findall(r"(?:python |`|\b)((?:pipelines|scripts|benchmarks)/\w+\.(?:py|sh))", text)
    assert not [script for script in scripts if not (ROOT / script).is_file()]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE)) <= set(targets)
    commands = {*command.COMMANDS, *(alias for aliases in command.ALIASES.values() for alias in aliases)}
    assert set(re.findall(r"(?:^|`)brule (\w+)", text, re.MULTILINE)) <= commands
    named = set(re.findall(r"pipelines/experiment\.py ([\w-]+)", text)) - {
        *("tuned", "butterflies", "pictures"),  # which `make tune` and `brule new` write
        "NAME",
    }
    assert not {name for name in named if name[0] != "-"} - {path.stem for path in (ROOT / "experiments").glob("*")}


@each_page
def test_every_parameter_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    spans = [*re.findall(r"`([^`\n]+)`", text), *re.findall(r"-S '?[+~]*([\w.]+)", text)]
    sections = "|".join(Config.model_fields)
    named = {match for span in spans for match in re.findall(rf"(?<![\w./])(?:{sections})\.[a-z][\w.]*", span)}
    assert not named - parameters() - {"train.json", "barycenter.npy"}  # files


def test_the_citation_is_of_this_version() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert f'version = "{citation["version"]}"' in project
