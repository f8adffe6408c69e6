"""The command `brule`: a trained detector at the command line, and the shapes to train one with."""

import argparse


def model(command: argparse.ArgumentParser) -> None:
    """Adds `--model`: the detector, a string for `brule.load`."""
    text = "the detector: a file, or MLflow's models:/NAME@ALIAS or models:/NAME/VERSION; default: %(default)s"
    command.add_argument("--model", default="models/detector.safetensors", metavar="MODEL", help=text)


def port(command: argparse.ArgumentParser, default: int) -> None:
    """Adds `--port`: where a page is served."""
    text = "0 takes any free port; default: %(default)s"
    command.add_argument("--port", type=_port, default=default, metavar="N", help=text)


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port; give a number from 0 to 65535")
    return number
