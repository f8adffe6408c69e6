"""Stage `evaluate`: the detector and the held-out faces → numbers, pictures, the model card, the page."""

from pathlib import Path

from brule import config
from brule import terminal as entry


def main() -> None:
    from brule.stages import evaluate as evaluation
    from brule.stages import wording

    report = evaluation.evaluate(config.read(Path("params.yaml")))
    print(wording.verdict(report["test"]))  # the whole table: python pipelines/report.py


if __name__ == "__main__":
    entry.main(main)
