"""The command `brule`: a trained detector at the command line."""

import argparse


def model(command: argparse.ArgumentParser) -> None:
    """Adds `--model`: the detector, a string for `brule.load`."""
    text = "the detector: a file, or MLflow's models:/NAME@ALIAS or models:/NAME/VERSION; default: %(default)s"
    command.add_argument("--model", default="models/detector.safetensors", metavar="MODEL", help=text)
