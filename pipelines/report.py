"""Print the table of results/metrics.json and where the figures are, without running anything."""

from pathlib import Path

from brule import terminal
from brule.data.prepared import read_manifest
from brule.errors import BruleError
from brule.stages.evaluate import show

METRICS = Path("results/metrics.json")


def main() -> None:
    report = read_manifest(METRICS, "run dvc repro -f evaluate")
    if not {"test", "validation", "samples", "alarms"} <= report.keys():
        raise BruleError(f"{METRICS} was not written by evaluate; run dvc repro -f evaluate")
    show(report)


if __name__ == "__main__":
    terminal.stage(main)
