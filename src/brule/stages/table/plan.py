"""A table as it is written in experiments/tables/, and the runs that its rows stand for, with all their parameters."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from brule.config import Config, Section, flatten, parse
from brule.errors import BruleError, brief, quoted
from brule.files import sha_lines
from brule.stages import experiments
from brule.stages.experiments import Parameters

FOLDER = Path("experiments/tables")
UNSET = "(not given)"
"""Stands for a place that the caller did not give. It is enough to check a row and to find its earlier results."""
ELSEWHERE = (
    *("data.location", "data.sha256", "data.extra.location", "data.extra.sha256"),
    *("train.initial", "evaluate", "machine", "tracking"),
)
"""Parameters, and groups of them, that say where and how a run works, not what it computes. (Of `train.initial` the
content counts, see `Entry.initial`.) A clone without the data thus finds the committed results."""
REQUIRED = object()
"""In place of the value at which a parameter is off: it has none."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class Row(Section):
    """A line of the table: an experiment with `settings`, run once for every set of overrides in `runs`."""

    name: Name
    title: str
    experiment: str
    """A file of experiments/, without .yaml."""
    saw: str
    """What training was allowed to see: images, shapes, labels."""
    group: str
    settings: dict[str, Any] = Field(default_factory=dict)
    """What all its runs set on top of the experiment. Keys may be dotted."""
    runs: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] = ({},)
    """What each run sets on top of these: its seed, say, or its draw of the labels."""
    initial: str | None = None
    """An earlier row: run i starts from the detector of that row's run i, or of its first run if it has fewer."""


class Anchor(Section):
    """A number that others report: inter-ocular NME in percent on some of the table's `splits`."""

    title: str
    saw: str
    nme: dict[str, Annotated[float, Field(gt=0)]]


class Table(Section):
    """The whole file. Its `groups` and `splits` are {name: heading}, in the order in which they are shown."""

    title: str
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    """What all runs set on top of their experiment, such as what the default schedule was when they were measured."""
    groups: dict[str, str]
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    splits: dict[str, str] = Field(default_factory=dict)
    splits_note: str = ""
    anchors: tuple[Anchor, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        earlier: list[str] = []
        for row in self.rows:
            if row.name in earlier:
                raise ValueError(f"two rows are named {row.name}; rename one of them")
            if row.initial is not None and row.initial not in earlier:
                raise ValueError(
                    f"row {row.name}: initial is {quoted(row.initial)}, which is not an earlier row; "
                    + (f"those are {', '.join(earlier)}" if earlier else "it is the first")
                )
            if row.group not in self.groups:
                raise ValueError(f"row {row.name}: group {quoted(row.group)} is not one of {', '.join(self.groups)}")
            earlier.append(row.name)
        for anchor in self.anchors:
            if unknown := sorted(set(anchor.nme) - set(self.splits)):
                raise ValueError(f"anchor {anchor.title}: {quoted(unknown[0])} is not one of {', '.join(self.splits)}")
        return self


@dataclass(frozen=True)
class Job:
    """One run of a row."""

    row: Row
    index: int
    parameters: Parameters
    """As `dvc exp run` gets them."""
    counted: Mapping[str, Any]
    """Those that decide what it computes, `{"loss.c7": 1e5, …}`; see the function of this name."""
    initial: str | None = None
    """The name of the job whose detector this one starts from."""
    missing: tuple[str, ...] = ()
    """The places that it needs and the caller did not give."""
    labelled: str | None = None
    """Digest of the names in the list that is `prepare.labelled`."""

    @property
    def name(self) -> str:
        """<row>-<index>."""
        return f"{self.row.name}-{self.index}"


def read(root: Path, name: str) -> Table:
    """The table of that name. Raises BruleError, in one sentence, if there is none or if its file is wrong."""
    raw = experiments.load(root / FOLDER, name)
    try:
        return Table.model_validate(raw)
    except ValidationError as error:
        raise BruleError(f"{FOLDER / name}.yaml: {_sentence(error, raw)}") from None


def plan(root: Path, name: str, table: Table, assignments: Iterable[str] = ()) -> list[Job]:
    """Every run of the table in order, under `assignments` (`key=value`). Raises BruleError naming the row at fault."""
    assignments = list(assignments)
    counts = {row.name: len(row.runs) for row in table.rows}
    jobs = []
    for row in table.rows:
        initial = counts[row.initial] if row.initial else 0
        for index in range(len(row.runs)):
            try:
                parameters, missing = _parameters(
                    root, row, table.settings | row.settings | row.runs[index], assignments
                )
                flat = flatten(parse(parameters))
                labelled = _labels(root, flat["prepare.labelled"])
            except BruleError as error:
                raise BruleError(f"{FOLDER / name}.yaml, row {row.name}: {error}") from None
            start = f"{row.initial}-{index if index < initial else 0}" if row.initial else None
            jobs.append(Job(row, index, parameters, counted(flat), start, missing, labelled))
    return jobs


def chosen(jobs: Sequence[Job], rows: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Job]:
    """The jobs of these rows and seeds (none given: all), and the jobs they start from. Raises BruleError for a row
    that does not exist."""
    known = list(dict.fromkeys(job.row.name for job in jobs))
    if unknown := [row for row in rows if row not in known]:
        raise BruleError(f"--rows {unknown[0]}: the table has no such row; its rows are {', '.join(known)}")
    named = {
        job.name
        for job in jobs
        if (not rows or job.row.name in rows) and (not seeds or job.parameters["seed"] in seeds)
    }
    for job in reversed(jobs):  # a job comes after the one it starts from
        if job.name in named and job.initial is not None:
            named.add(job.initial)
    return [job for job in jobs if job.name in named]


def counted(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that decide what a run computes, without those that are off.

    A stage without iterations is off, too: it is as good as absent.
    """
    return {
        key: value
        for key, value in flat.items()
        if value is not None and value != off(key) and not any(f"{key}.".startswith(f"{e}.") for e in ELSEWHERE)
    }


@cache
def _states() -> dict[str, Any]:
    """{parameter, with * for the name of a stage or a family: the value at which it is off, or REQUIRED}."""
    schema, found = Config.model_json_schema(), dict[str, Any]()

    def visit(node: Mapping[str, Any], key: str, off: Any) -> None:
        kinds = node.get("anyOf", [node])
        found[key] = None if off is REQUIRED and {"type": "null"} in kinds else off
        for kind in kinds:
            group = schema["$defs"][kind["$ref"].rpartition("/")[2]] if "$ref" in kind else kind
            for name, inner in group.get("properties", {}).items():
                needed = REQUIRED if name in group.get("required", ()) else inner.get("default")
                # whatever a switched-off group contains is off
                visit(inner, f"{key}.{name}".lstrip("."), needed if found[key] is REQUIRED else None)
            if isinstance(inner := group.get("additionalProperties"), Mapping):
                visit(inner, f"{key}.*", REQUIRED)

    visit(schema, "", REQUIRED)
    return found | {"stages.*.iterations": 0}


def off(key: str) -> Any:
    """The value at which this parameter is off; REQUIRED if it has none, or if no such parameter exists any more."""
    section, _, rest = key.partition(".")
    pattern = f"{section}.*.{rest.partition('.')[2]}" if f"{section}.*" in _states() else key
    return _states().get(pattern, REQUIRED)


def _parameters(
    root: Path, row: Row, settings: Mapping[str, Any], assignments: list[str]
) -> tuple[Parameters, tuple[str, ...]]:
    """The checked parameters of a run, and the places that it needs and `assignments` does not give."""
    own = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    wanted = experiments.overlay(root, row.experiment, [*own, *assignments])
    missing = []
    data = wanted.get("data")
    if isinstance(data, dict):
        extra = data.get("extra")
        if isinstance(extra, dict) and set(extra) <= {"location", "sha256"}:
            del data["extra"]  # the caller gives the place for all rows; this one reads no extra images
        elif isinstance(extra, dict) and not extra.get("location"):
            extra["location"] = UNSET
            missing.append("data.extra.location")
        if data.get("source") == "synthetic":  # reads no place, so none may tell this run from another
            data["location"] = None
        elif not data.get("location"):
            data["location"] = UNSET
            missing.insert(0, "data.location")
    experiments.check(root, wanted, f"experiments/{row.experiment}.yaml")
    return wanted, tuple(missing)


def _labels(root: Path, path: str | None) -> str | None:
    """Digest of the names in a list of labelled images."""
    if path is None:
        return None
    try:
        return sha_lines((root / path).read_bytes())
    except OSError:
        raise BruleError(f"prepare.labelled: {path} cannot be read; name a file of image names") from None


def _sentence(error: ValidationError, raw: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    where = [brief(str(part)) for part in first["loc"]]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if len(where) > 1 and where[0] in ("rows", "anchors"):  # "rows.7" tells a reader less than the row's name
        item = raw[where[0]][int(where[1])]
        label = item.get("name", item.get("title")) if isinstance(item, Mapping) else None
        where[:2] = [f"{where[0][:-1]} {brief(str(label or where[1]))}"]
    key = where[0] if len(where) == 1 else f"{where[0]}: {'.'.join(where[1:])}"
    if first["type"] == "extra_forbidden":
        return f"{key} is not a known key; correct it or remove it"
    if first["type"] == "missing":
        return f"{key} is missing; add it"
    return f"{key} = {quoted(first['input'])}: {first['msg'][0].lower()}{first['msg'][1:]}"
