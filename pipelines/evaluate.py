"""Stage `evaluate`: the detector and the held-out faces → numbers, pictures, the model card."""

from pathlib import Path

from brule import config, entry, evaluation


def main() -> None:
    evaluation.show(evaluation.evaluate(config.read(Path("params.yaml"))))


if __name__ == "__main__":
    entry.main(main)
