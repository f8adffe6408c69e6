"""Print the table of results/metrics.json and where the figures are, without running anything."""

import json
from pathlib import Path

from brule import terminal
from brule.errors import BruleError
from brule.stages.evaluate import show

METRICS = Path("results/metrics.json")


def main() -> None:
    try:
        report = json.loads(METRICS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BruleError(f"{METRICS} does not exist; run dvc repro") from None
    except json.JSONDecodeError:
        raise BruleError(f"{METRICS} is not valid JSON; run dvc repro -f evaluate") from None
    if not (isinstance(report, dict) and {"test", "validation", "samples", "alarms"} <= report.keys()):
        raise BruleError(f"{METRICS} was not written by evaluate; run dvc repro -f evaluate")
    show(report)


if __name__ == "__main__":
    terminal.stage(main)
