"""The command `brule`: what a trained detector is for.

Options that several commands take."""

import argparse
import os
import sys

from brule import terminal as entry
from brule.cli import demo, export, predict, serve

COMMANDS = {"predict": predict, "demo": demo, "serve": serve, "export": export}


def main() -> None:
    """What the installed command runs."""
    entry.main(_run)


def _run() -> None:
    args = _parser().parse_args()
    try:
        failed = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the rows, `head` for one, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        failed = True
    sys.exit(int(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="brule", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawTextHelpFormatter
    for name, module in COMMANDS.items():
        title, epilog = module.TITLE, module.EPILOG
        command = commands.add_parser(name, help=title, description=title, epilog=epilog, formatter_class=raw)
        module.arguments(command)
        command.set_defaults(run=module.run, command=command)
    return parser


if __name__ == "__main__":
    main()


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
