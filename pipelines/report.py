"""Print the table of results/metrics.json again, and where the pictures are: for when DVC had nothing to run."""

import json
from pathlib import Path

from brule import terminal as entry
from brule.errors import BruleError
from brule.stages import evaluate as evaluation

METRICS = Path("results/metrics.json")


def main() -> None:
    try:
        report = json.loads(METRICS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BruleError(f"{METRICS} does not exist; run dvc repro") from None
    except json.JSONDecodeError:
        raise BruleError(f"{METRICS} is not whole JSON; run dvc repro -f evaluate") from None
    if not (isinstance(report, dict) and {"test", "validation", "samples", "alarms"} <= report.keys()):
        raise BruleError(f"{METRICS} is not what evaluate writes; run dvc repro -f evaluate")
    evaluation.show(report)


if __name__ == "__main__":
    entry.main(main)
