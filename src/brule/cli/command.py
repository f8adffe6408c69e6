"""The command `brule`: what a trained detector is for."""

import argparse
import os
import sys

from brule import entry
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
