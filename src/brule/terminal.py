"""What a script says in a terminal and how it ends: errors as one sentence, progress bars, and a polite stop.

rich is imported where it draws, so that whoever shows nothing does not wait for it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from brule.errors import BruleError, sentence

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

Row = dict[str, float | int | str]
T = TypeVar("T")

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells expect."""
SHOWN = {
    "encoder/R_g": "R_g",
    "encoder/supervised": "sup",
    "gan/L_rec": "rec",
    "gan/generator": "G",
    "gan/discriminator": "D",
}
"""Column of the history → its short name beside the bar."""
WATCHED = {"monitors/spread": "spread {:.2f}", "monitors/nearest": "nearest {:.3f}", "monitors/alarms": "alarms {:.0f}"}
"""Column of the history → its text in the line of a validation."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(function: Callable[[], object], together: bool = False) -> None:
    """Run a script's function. What a user can correct ends in one red line and exit code 1, not in a traceback.

    That is a BruleError, a full disk, a missing permission, or memory that ran out. `together`: the function knows how
    to share its work with the other processes of torchrun; any other would do the whole of it in each, and is refused.
    """
    try:
        if not together and os.environ.get("WORLD_SIZE", "1") != "1":
            if os.environ.get("RANK", "0") != "0":
                return  # one sentence is enough
            raise BruleError("only pipelines/train.py works in several processes; run this without torchrun")
        function()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (BruleError, OSError, MemoryError, RuntimeError) as error:
        told = explain(error)
        if told is None:
            raise
        from rich.text import Text

        _console(soft_wrap=True).print(Text(told, style="red"))
        sys.exit(1)


def stage(function: Callable[[], object], together: bool = False) -> None:
    """`main` for a script whose settings all stand in params.yaml. An argument is a misunderstanding: nothing runs."""
    if len(sys.argv) > 1:
        sys.stderr.write(f"usage: python {sys.argv[0]}     (no arguments: params.yaml holds every setting)\n")
        sys.exit(2)
    main(function, together)


def explain(error: BaseException) -> str | None:
    """The sentence for an error that a user can correct. None for a fault of the program."""
    if isinstance(error, BruleError):
        return str(error)
    if _starved(error) or (error.__context__ and _starved(error.__context__)):  # torch.save raises another one after it
        return "the memory ran out; lower train.batch_size, prepare.image_size or the networks' widths"
    if isinstance(error, OSError) and error.strerror:
        return sentence(f"{error.filename or 'input or output'}: {error.strerror.lower()}; correct that and run again")
    return None


def _starved(error: BaseException) -> bool:
    # torch's own class is recognised by its name, so that this module never pays for importing torch.
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or "can't allocate memory" in str(error)


class Stop:
    """`with Stop() as stop:` the first Ctrl-C or SIGTERM only sets `stop.signal`, the second acts as usual.

    A long run can thus finish its iteration and save itself. A signal that the process was started to ignore (a job of
    `nohup`, or in a shell's background) stays ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells expect."""
        return 128 + (self.signal or 0)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            self._before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
            for number in self._before:
                signal.signal(number, self._caught)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items, with a bar on stderr that counts them."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}")
    with _progress(text, BarColumn(), MofNCompleteColumn(), _rate("{:.0f}/s", ""), TimeRemainingColumn()) as bar:
        yield from bar.track(items, total=total, description=description)


@contextmanager
def transfer(description: str, total: int | None, start: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar on stderr that counts bytes from `start` to `total`. Yields a function that takes each block's length."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    text = TextColumn("{task.description}")
    with _progress(text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=total, completed=start)
        yield lambda count: bar.advance(task, count)


class _Live:
    """A bar on stderr within `with`, and lines above it; the lines alone if stderr is not a terminal."""

    def __init__(self, description: str, total: int, done: int, beside: str, rate: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        self.console, self.total = _console(), total
        columns = [TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn()]
        columns += [_rate("{:.1f} it/s", "– it/s")] if rate else []
        columns += [TimeRemainingColumn(), TextColumn(f"{{task.fields[{beside}]}}")]
        self.bar = _progress(*columns, console=self.console, disable=not self.console.is_terminal)
        fields: dict[str, Any] = {beside: ""}
        self.task = self.bar.add_task(description, total=total, completed=done, **fields)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def trial(self, row: Row) -> None:
        """One line for a trial of the coefficients."""
        found = "  ".join(f"{name[7:]} {float(row[name]):.3g}" for name in row if name.startswith("tuning/c"))
        self._line(
            f"  trial {float(row['tuning/trial']):>3.0f}  W₁ {row['tuning/score']:6.2f} %  "
            f"best {row['tuning/best']:6.2f} %  {found}"
        )

    def _line(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, highlight=False, soft_wrap=True)


class Display(_Live):
    """`with Display(total, done) as display:` a training: `advance` moves the bar, `note` prints each validation."""

    def __init__(self, total: int, done: int) -> None:
        super().__init__("train", total, done, beside="losses", rate=True)

    def advance(self, done: int, stage: str, losses: dict[str, float]) -> None:
        """Move the bar to `done` iterations."""
        text = "  ".join(f"{short} {losses[name]:.3f}" for name, short in SHOWN.items() if name in losses)
        self.bar.update(self.task, completed=done, description=stage, losses=text)

    def note(self, row: Row) -> None:
        """One line for the row of a validation."""
        if "monitors/alarms" not in row:
            return
        error = (
            f"NME {row['validation/nme']:6.2f} %  W₁ {row['validation/w1']:6.2f} %  " if "validation/nme" in row else ""
        )
        self._line(
            f"{row['iteration']:>6}/{self.total} {row['stage']:<6} {error}"
            + "  ".join(text.format(row[name]) for name, text in WATCHED.items() if name in row)
        )

    def alarm(self, sentence: str) -> None:
        """One line for a monitor of collapse that has just raised an alarm."""
        self._line(f"  collapse alarm: {sentence}", style="yellow")


class Trials(_Live):
    """`with Trials(total) as display:` a search: `ended` moves the bar and prints the trial."""

    def __init__(self, total: int) -> None:
        super().__init__("tune", total, 0, beside="best", rate=False)
        self.waiting = -1

    def ended(self, row: Row) -> None:
        """A trial of any worker has ended."""
        self.bar.update(self.task, advance=1, best=f"best W₁ {row['tuning/best']:.2f} %")
        self.trial(row)

    def waits(self, number: int) -> None:
        """The search waits for a trial of another worker; one line, however often it is said."""
        if number != self.waiting:
            self._line(f"  waiting for trial {number} of another worker, which is made again if that one is lost")
        self.waiting = number


def _console(**options: Any) -> Console:
    from rich.console import Console

    return Console(stderr=True, **options)


def _progress(*columns: ProgressColumn, console: Console | None = None, disable: bool = False) -> Progress:
    from rich.progress import Progress

    return Progress(*columns, console=console or _console(), disable=disable)


def _rate(known: str, unknown: str) -> ProgressColumn:
    """A column with the items per second, written as `known` says, or `unknown` before the first."""
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(unknown if speed is None else known.format(speed), style="progress.data.speed")

    return Rate()
