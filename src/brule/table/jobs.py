"""From rows to runs: the complete, checked parameters of each, and what must be equal for a result to be used again."""

import ast
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from brule import experiments
from brule.config import flatten, parse
from brule.errors import BruleError
from brule.experiments import Parameters
from brule.table.rows import FOLDER, Row, Table

UNSET = "(not given)"
"""Stands for a place that this call was not told: enough to check a row and to find its earlier results."""
ELSEWHERE = (
    *("data.location", "data.sha256", "data.extra.location", "data.extra.sha256"),
    *("train.initial", "train.threads", "train.precision", "tracking"),
)
"""Parameters that say where and how a run works, not what it computes (`train.initial`: its content counts).

A clone without the data thus finds the committed results; that one location holds other data than another is not seen.
"""
COMPUTES = (
    *("maths", "networks", "method", "photos.py", "data/crop.py", "data/framing.py", "data/splits.py"),
    *("data/labelled.py", "data/choosing.py", "data/preparing.py"),
)
"""The code under src/brule that decides what a network learns; what reads, measures and draws around it is left out."""


@dataclass(frozen=True)
class Job:
    """One run of a row."""

    row: Row
    index: int
    name: str
    """<row>-<index>."""
    parameters: Parameters
    initial: str | None
    """The name of the job whose detector this one starts from."""
    missing: tuple[str, ...]
    """The places that it needs and this call was not told."""
    content: str
    """Digest of its parameters, of the list of labelled images they name, and of the code."""

    def digest(self, weights: str | None) -> str:
        """16 hexadecimal digits; a result that bears them, and these initial weights' digest, is this job's result."""
        return hashlib.sha256(f"{self.content} {weights}".encode()).hexdigest()[:16]


def plan(root: Path, name: str, table: Table, assignments: Iterable[str] = ()) -> list[Job]:
    """Every run of the table in order, under `assignments` (`key=value`). Raises BruleError naming the row at fault."""
    assignments, computes = list(assignments), code(root / "src" / "brule")
    counts = {row.name: len(row.runs) for row in table.rows}
    jobs = []
    for row in table.rows:
        for index in range(len(row.runs)):
            try:
                parameters, missing = _parameters(root, row, index, assignments)
                content = _content(root, parameters, computes)
            except BruleError as error:
                raise BruleError(f"{FOLDER / name}.yaml, row {row.name}: {error}") from None
            initial = row.initial and f"{row.initial}-{index if index < counts[row.initial] else 0}"
            jobs.append(Job(row, index, f"{row.name}-{index}", parameters, initial, missing, content))
    return jobs


def chosen(jobs: Sequence[Job], rows: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Job]:
    """The jobs of these rows and seeds (empty: all), with those that they start from. Raises BruleError for a row that
    there is not."""
    known = list(dict.fromkeys(job.row.name for job in jobs))
    if unknown := [row for row in rows if row not in known]:
        raise BruleError(f"--rows {unknown[0]}: the table has no such row; it has {', '.join(known)}")
    named = {
        job.name
        for job in jobs
        if (not rows or job.row.name in rows) and (not seeds or job.parameters["seed"] in seeds)
    }
    for job in reversed(jobs):  # a job comes after the one it starts from
        if job.name in named and job.initial is not None:
            named.add(job.initial)
    return [job for job in jobs if job.name in named]


def code(package: Path) -> str:
    """Digest of the code that computes, without its comments and docstrings: a better sentence costs no hour."""
    paths = [path for part in COMPUTES for path in sorted((package / part).glob("*.py")) or [package / part]]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(package)}\n{_bare(path)}\n".encode())
    return digest.hexdigest()[:16]


def _bare(path: Path) -> str:
    """A syntax tree knows no comments and no layout; what Python versions add to one when empty is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            strings = [n for n in body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
            node.body = [n for n in body if n not in strings]  # type: ignore[attr-defined]
    return _dump(tree)


def _dump(value: object) -> str:
    if isinstance(value, ast.AST):
        fields = [f"{name}={_dump(inner)}" for name, inner in ast.iter_fields(value) if inner not in (None, [])]
        return f"{type(value).__name__}({','.join(fields)})"
    return f"[{','.join(map(_dump, value))}]" if isinstance(value, list) else repr(value)


def _parameters(root: Path, row: Row, index: int, assignments: list[str]) -> tuple[Parameters, tuple[str, ...]]:
    own = [f"{key}={json.dumps(value)}" for key, value in {**row.overrides, **row.runs[index]}.items()]
    places = [f"{place}={UNSET}" for place in ("data.location", "data.extra.location")]
    wanted = experiments.plan(root, row.experiment, [*places, *own, *assignments])
    if wanted["data"]["source"] == "synthetic":  # what a run does not read must not tell it from another
        wanted = experiments.merge(wanted, {"data.location": None})
    if wanted["data"]["extra"]["source"] is None:
        wanted = experiments.merge(wanted, {"data.extra.location": None})
    given = {"data.location": wanted["data"]["location"], "data.extra.location": wanted["data"]["extra"]["location"]}
    return wanted, tuple(place for place, value in given.items() if value == UNSET)


def _content(root: Path, parameters: Parameters, computes: str) -> str:
    flat = flatten(parse(parameters))
    kept = {key: value for key, value in flat.items() if not any(f"{key}.".startswith(f"{e}.") for e in ELSEWHERE)}
    digest = hashlib.sha256(json.dumps([kept, computes], sort_keys=True).encode())
    if labelled := flat["prepare.labelled"]:
        try:
            digest.update((root / labelled).read_bytes())
        except OSError:
            raise BruleError(f"prepare.labelled: {labelled} cannot be read; name a file of image names") from None
    return digest.hexdigest()
