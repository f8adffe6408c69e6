"""What the stages wrote into results/, checked as it is read again: train.json, run.json, history.csv, metrics.json."""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from brule.data import prepared
from brule.errors import BruleError
from brule.stages.gan_scores import UNMEASURED_SAMPLES
from brule.stages.scores import UNMEASURED

RESULTS = Path("results")
_WORDS = {"stage", "alarms"}
"""Columns of the history that hold no numbers."""
_CHECKED = ConfigDict(extra="allow", strict=True)


class _Collapse(BaseModel):
    model_config = _CHECKED
    sentence: str


class _Trained(BaseModel):
    """train.json and run.json together; one that is not pulled lacks the second."""

    model_config = _CHECKED
    best_iteration: int = 0
    collapsed: _Collapse | None = None
    threads: int | None = None
    precision: str | None = None
    fingerprint: str | None = None
    tuned: dict[str, Any] | None = None
    mlflow_run_id: str | None = None
    seconds: float | None = None
    images_per_second: float | None = None


def _scores(name: str, unmeasured: dict[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {key: (float | None if value is None else int, ...) for key, value in unmeasured.items()}
    return create_model(name, __config__=_CHECKED, **fields)


class _Report(BaseModel):
    model_config = _CHECKED
    test: _scores("Test", UNMEASURED)  # type: ignore[valid-type]  # the keys are those that `scores` writes
    validation: _scores("Validation", UNMEASURED)  # type: ignore[valid-type]
    samples: _scores("Samples", UNMEASURED_SAMPLES)  # type: ignore[valid-type]
    monitors: dict[str, float | None]
    alarms: list[str]


def trained(mend: str, run: bool = True) -> dict[str, Any]:
    """results/train.json and, where `run`, results/run.json. Raises BruleError, with the mend, for a damaged one."""
    found: dict[str, Any] = {}
    for name in ("train.json", *(["run.json"] if run else [])):
        found |= _checked(RESULTS / name, _Trained, mend)
    return found


def report(mend: str) -> dict[str, Any]:
    """results/metrics.json. Raises BruleError, with the mend, if `evaluate` has not written it so."""
    return _checked(RESULTS / "metrics.json", _Report, mend)


def history(mend: str) -> pd.DataFrame:
    """results/history.csv: a row for each `iteration`, with its `stage` and numbers. Raises BruleError likewise."""
    path = RESULTS / "history.csv"
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise BruleError(f"{path}: is missing; {mend}") from None
    except (OSError, ValueError):
        raise BruleError(f"{path}: is damaged; {mend}") from None
    words = [name for name in table.select_dtypes(exclude="number") if name not in _WORDS and len(table)]
    if not {"iteration", "stage"} <= set(table) or words:
        raise BruleError(f"{path}: is damaged; {mend}")
    return table


def _checked(path: Path, kind: type[BaseModel], mend: str) -> dict[str, Any]:
    raw = prepared.read_manifest(path, mend)
    try:
        kind.model_validate(raw)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BruleError(f"{path}: {key} is missing or wrong; {mend}") from None
    return raw
