"""The command `brule`: a trained detector at the command line, and the shapes to train one with."""

import argparse
from pathlib import Path

from brule.errors import BruleError


def model(command: argparse.ArgumentParser) -> None:
    """Adds `--model`: the detector, a string for `brule.load`."""
    text = "the detector: a file, or MLflow's models:/NAME@ALIAS or models:/NAME/VERSION; default: %(default)s"
    command.add_argument("--model", default="models/detector.safetensors", metavar="MODEL", help=text)


def port(command: argparse.ArgumentParser, default: int) -> None:
    """Adds `--port`: where a page is served."""
    text = "0 takes any free port; default: %(default)s"
    command.add_argument("--port", type=_port, default=default, metavar="N", help=text)


def count(command: argparse.ArgumentParser, things: str, most: int, default: int, text: str) -> None:
    """Adds `--count`: how many `things`, at most `most`."""

    def number(given: str) -> int:
        if not given.isascii() or not given.isdecimal() or not 0 < int(given) <= most:
            raise argparse.ArgumentTypeError(f"{given} is not a number of {things}; give one from 1 to {most}")
        return int(given)

    text = f"{text}; default: %(default)s"
    command.add_argument("-n", "--count", type=number, default=default, metavar="N", help=text)


def new_folder(path: Path, mend: str) -> Path:
    """The folder in full. Raises BruleError that ends with the `mend` if something is there already."""
    folder = path.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BruleError(f"{path}: exists and is not an empty folder; {mend}")
    return folder


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port; give a number from 0 to 65535")
    return number
