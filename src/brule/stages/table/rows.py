"""A table as it is written down: what each row runs, what that run may see, and what others have published."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from brule.config.schema import Section
from brule.errors import BruleError
from brule.stages import experiments

FOLDER = Path("experiments/tables")
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class Row(Section):
    """A line of the table: an experiment, run once for every set of overrides in `runs`."""

    name: Name
    title: str
    experiment: str
    """A file of experiments/, without .yaml."""
    saw: str
    """What training was allowed to see: images, shapes, labels."""
    group: str
    runs: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] = ({},)
    """Parameters of each run over those of the experiment, seeds or draws of the labels; keys may be dotted."""
    initial: str | None = None
    """An earlier row: run i starts from the detector of its run i, or of its first where it has fewer."""


class Anchor(Section):
    """A number that others report: inter-ocular NME in percent on some of the table's `splits`."""

    title: str
    saw: str
    nme: dict[str, Annotated[float, Field(gt=0)]]


class Table(Section):
    """The whole file. Its `groups` and `splits` are {name: heading}, in the order in which they are shown."""

    title: str
    notes: tuple[str, ...] = ()
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
                raise ValueError(f"two rows are named {row.name}; give one of them another name")
            if row.initial is not None and row.initial not in earlier:
                raise ValueError(
                    f"row {row.name}: initial is {row.initial!r}, which is no earlier row; "
                    f"there are {', '.join(earlier) or 'none'}"
                )
            if row.group not in self.groups:
                raise ValueError(f"row {row.name}: group {row.group!r} is not among {', '.join(self.groups)}")
            earlier.append(row.name)
        for anchor in self.anchors:
            if unknown := sorted(set(anchor.nme) - set(self.splits)):
                raise ValueError(f"anchor {anchor.title}: {unknown[0]!r} is not among {', '.join(self.splits)}")
        return self


def read(root: Path, name: str) -> Table:
    """The table of that name. Raises BruleError, in one sentence, for one that does not exist or is wrong in itself."""
    raw = experiments.load(root / FOLDER, name)
    try:
        return Table.model_validate(raw)
    except ValidationError as error:
        raise BruleError(f"{FOLDER / name}.yaml: {_sentence(error, raw)}") from None


def _sentence(error: ValidationError, raw: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if len(where) > 1 and where[0] in ("rows", "anchors"):  # "rows.7" tells a reader less than the row's name
        item = raw[where[0]][int(where[1])]
        label = item.get("name", item.get("title")) if isinstance(item, Mapping) else None
        where[:2] = [f"{where[0][:-1]} {label or where[1]}"]
    key = where[0] if len(where) == 1 else f"{where[0]}: {'.'.join(where[1:])}"
    if first["type"] == "extra_forbidden":
        return f"{key} is not a key that it knows; correct it or take it out"
    if first["type"] == "missing":
        return f"{key} is missing; write it"
    return f"{key} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
