"""Fig. 8: the landmarks of the same validation faces over the iterations, cut from the pictures that training drew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from brule.errors import BruleError
from brule.figures.course import frames
from brule.figures.grids import cells
from brule.paper import runs
from brule.paper.request import Request
from brule.tracking import reading

_FRAMES, _FACES = 8, 4
_ALARMS = "monitors/alarms"
_RESULTS = Path("results")


def fig8(request: Request) -> list[str]:
    """Faces below each other, iterations beside each other; those at which a monitor of collapse fired are red."""
    if len(request.runs) > 1:
        raise BruleError(f"--runs {' '.join(request.runs)}: Fig. 8 shows one run; name one")
    pictures, steps, alarms, told = _tracked(request.runs[0]) if request.runs else _here()
    chosen = sorted(pictures)
    chosen = [chosen[place] for place in np.unique(np.linspace(0, len(chosen) - 1, _FRAMES).round().astype(int))]
    columns = {iteration: cells(pictures[iteration])[0, :_FACES] for iteration in chosen}
    count = len(columns[chosen[0]])
    heading = f"Fig. 8 · Landmarks of {count} validation faces over the iterations{told}"
    note = "Above: the iteration; red: a monitor of collapse was beyond its limit then."
    frames(columns, request.out, heading, note, {i for i in chosen if _standing(i, steps, alarms)})
    return []


def _here() -> tuple[Mapping[int, Any], npt.NDArray[Any], npt.NDArray[Any], str]:
    """The pictures of the last run in the workspace, and its alarms."""
    paths = {int(path.stem): path for path in (_RESULTS / "samples").glob("*.png") if path.stem.isdigit()}
    if not paths:
        raise BruleError(
            f"{_RESULTS / 'samples'}: holds no pictures of a training; run dvc repro, or, for the paper's collapse, "
            "python pipelines/experiment.py collapse"
        )
    pictures = {iteration: np.asarray(Image.open(path).convert("RGB")) for iteration, path in paths.items()}
    try:
        table = pd.read_csv(_RESULTS / "history.csv")
    except (OSError, ValueError):
        raise BruleError(f"{_RESULTS / 'history.csv'}: is missing or damaged; run the train stage again") from None
    fired = table.dropna(subset=[_ALARMS]) if _ALARMS in table else table.head(0).assign(**{_ALARMS: 0.0})
    return pictures, fired["iteration"].to_numpy(), fired[_ALARMS].to_numpy(), ""


def _tracked(name: str) -> tuple[Mapping[int, Any], npt.NDArray[Any], npt.NDArray[Any], str]:
    """The same of a run in MLflow; of several seeds the first."""
    store = reading.read()
    run = runs.need(store, store.finished(), name, runs.rows()).runs[0]
    pictures = store.pictures(run, "samples")
    if not pictures:
        raise BruleError(f"run {run.id} ({run.name}): MLflow has no pictures of it; lower train.sample_every")
    return pictures, *store.course(run, _ALARMS), f" of the run {run.name}"


def _standing(iteration: int, steps: npt.NDArray[Any], alarms: npt.NDArray[Any]) -> bool:
    """Whether an alarm stood at the last validation up to that iteration."""
    before = int(np.searchsorted(steps, iteration, side="right"))
    return bool(before) and bool(alarms[before - 1] > 0)
