"""The command `brule`: a trained detector at the command line."""

from brule.cli.command import main

__all__ = ["main"]
