"""Stage `evaluate`: the detector and the held-out faces → numbers, pictures, the model card, the page."""

from pathlib import Path

from brule import config, entry


def main() -> None:
    from brule import evaluation, wording  # here, since they import torch, and Ctrl-C may come meanwhile

    report = evaluation.evaluate(config.read(Path("params.yaml")))
    print(wording.verdict(report["test"]))  # the whole table: python pipelines/report.py


if __name__ == "__main__":
    entry.main(main)
