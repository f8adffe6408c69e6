"""Train a detector of named landmarks on your own photos, and find them in photos and videos."""

import argparse
import os
import sys
from importlib import metadata

from brule import terminal
from brule.cli import click, export, generate, new, predict, register, serve, suggest
from brule.errors import BruleError

COMMANDS = {
    "shapes": click,
    "new": new,
    "predict": predict,
    "serve": serve,
    "export": export,
    "generate": generate,
    "suggest": suggest,
    "register": register,
}
ALIASES = {"serve": ["demo"]}


def main() -> None:
    """What the installed command runs."""
    terminal.main(_run)


def _run() -> None:
    args = _parser().parse_args()
    try:
        failed = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whatever reads the rows, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        failed = True
    sys.exit(int(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="brule", description=__doc__, epilog="`brule COMMAND --help` explains a command and gives examples."
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawTextHelpFormatter
    for name, module in COMMANDS.items():
        title, epilog, aliases = module.TITLE, module.EPILOG, ALIASES.get(name, [])
        command = commands.add_parser(
            name, aliases=aliases, help=title, description=title, epilog=epilog, formatter_class=raw
        )
        module.arguments(command)
        command.set_defaults(run=module.run, command=command)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: the command also runs from source, without being installed."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            version = metadata.version("brule")
        except metadata.PackageNotFoundError:
            raise BruleError("the version is unknown, since brule is not installed; run `pip install -e .`") from None
        print(f"brule {version}")
        parser.exit()
