"""What a study leaves: its trials as a table and a picture, and its coefficients as a named experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from brule import figures, files
from brule.method.training import Row
from brule.method.tuning import TRIAL
from brule.stages.experiments import hydra

RESULTS = Path("results/tuning")
EXPERIMENT = Path("experiments/tuned.yaml")


def write(rows: Sequence[Row]) -> list[Path]:
    """results/tuning/trials.csv and search.png; where they are."""
    ordered: list[Row] = sorted(rows, key=_number)
    table = pd.DataFrame(ordered)
    paths = [RESULTS / "trials.csv", RESULTS / "search.png"]
    files.write_text(paths[0], table.to_csv(index=False))
    figures.search(table, paths[1])
    return paths


def incumbent(rows: Sequence[Row]) -> int:
    """The number of the best trial of the decided path."""
    return int(float(max(rows, key=_number)["tuning/incumbent"]))


def best(rows: Sequence[Row]) -> dict[str, float]:
    """{c5: …}: the coefficients of the decided path's incumbent."""
    found = next(row for row in rows if row[TRIAL] == incumbent(rows))
    return {name[7:]: float(f"{float(found[name]):.4g}") for name in found if name.startswith("tuning/c")}


def save(coefficients: Mapping[str, float], name: str, rows: Sequence[Row]) -> None:
    """Write experiments/tuned.yaml, from which `pipelines/experiment.py tuned` starts; nothing else reads it."""
    ordered = sorted(rows, key=_number)
    first, last = float(ordered[0]["tuning/score"]), float(ordered[-1]["tuning/best"])
    lines = [
        f"# What the search {name} found in {len(rows)} trials: W₁ on validation {first:.2f} → {last:.2f} %",
        "loss:",
        *(f"  {key}: {value!r}" for key, value in coefficients.items()),
    ]
    files.write_text(EXPERIMENT, "\n".join(lines) + "\n")


def command(coefficients: Mapping[str, float]) -> str:
    """The line that trains with them."""
    return "dvc exp run " + " ".join(f"-S loss.{key}={hydra(value)}" for key, value in coefficients.items())


def _number(row: Row) -> float:
    return float(row[TRIAL])
