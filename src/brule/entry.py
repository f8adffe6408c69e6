"""How every script begins and ends: what a user can mend becomes one red line and exit code 1, never a traceback."""

import sys
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from brule.errors import BruleError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells expect."""


def main(function: Callable[[], object]) -> None:
    """Run a script's function. BruleError, a full disk, a missing permission, memory that ran out: one sentence."""
    try:
        function()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (BruleError, OSError, MemoryError, RuntimeError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        Console(stderr=True, soft_wrap=True).print(Text(" ".join(sentence.split()), style="red"))
        sys.exit(1)


def explain(error: BaseException) -> str | None:
    """The sentence for an error that a user can mend; None for one that is a fault of the program."""
    if isinstance(error, BruleError):
        return str(error)
    # torch's own class is known by its name, so that this module never pays for importing torch.
    starved = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    if starved or isinstance(error, MemoryError):
        return "the memory ran out; lower train.batch_size, prepare.image_size or the networks' widths"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'input or output'}: {error.strerror.lower()}; mend that and run again"
    return None
