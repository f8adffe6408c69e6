"""Options that several commands take."""

import argparse


def model(command: argparse.ArgumentParser) -> None:
    """`--model`: which detector; a string, for `brule.loading.load`."""
    text = "the detector: a file, or MLflow's models:/NAME@ALIAS, models:/NAME/VERSION; default: %(default)s"
    command.add_argument("--model", default="models/detector.safetensors", metavar="MODEL", help=text)


def port(command: argparse.ArgumentParser, default: int) -> None:
    """`--port`: where a server listens."""
    text = "0: any that is free; default: %(default)s"
    command.add_argument("--port", type=_port, default=default, metavar="N", help=text)


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port; give a number from 0 to 65535")
    return number
