"""Print the table of results/metrics.json and where the figures are, without running anything."""

from brule import terminal
from brule.stages import records
from brule.stages.evaluate import show


def main() -> None:
    show(records.report("run dvc repro -f evaluate"))


if __name__ == "__main__":
    terminal.stage(main)
