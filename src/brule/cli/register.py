"""`brule register`: the detector in models/ becomes a version in MLflow's registry, without running anything again."""

import argparse
from pathlib import Path

TITLE = "Register the project's detector in MLflow, as `evaluate` does, without running anything again."
EPILOG = """\
After `dvc pull` the detector, its results and the crops are here, but MLflow knows nothing of them, and `dvc repro`
has nothing to do. This command measures the detector on the validation images, logs its course and its results as
a run, and makes it a version of the model `tracking.model`. It is the champion if it is the best.

The same holds if MLflow could not be reached, or had no room, when the detector was trained.

examples:
  dvc pull && brule register
  brule serve --model models:/brule@champion"""


def arguments(command: argparse.ArgumentParser) -> None:
    """It takes nothing: params.yaml says which project this is."""


def run(args: argparse.Namespace) -> bool:
    """Register it; true if it is not registered."""
    from brule import config
    from brule.stages.evaluate import register

    return not register(config.read(Path("params.yaml")))
