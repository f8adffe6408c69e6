"""Stage `evaluate`: the detector and the held-out images → numbers, figures, the model card, the page."""

from pathlib import Path

from brule import config, terminal


def main() -> None:
    from brule.stages import wording
    from brule.stages.evaluate import evaluate

    report = evaluate(config.read(Path("params.yaml")))
    print(
        wording.verdict(report["test"]), *wording.warnings(report), sep="\n"
    )  # for the whole table: python pipelines/report.py


if __name__ == "__main__":
    terminal.stage(main)
