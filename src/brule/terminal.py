"""How every script begins and ends: what a user can mend becomes one red line and exit code 1, never a traceback.

Training as seen in a terminal: a bar with losses, rate and time left, or plain lines where there is no terminal.

Progress bars of the data stages: how far, how fast, how long still.

A polite end: Ctrl-C and SIGTERM let a long run finish its iteration and save itself, instead of cutting it off."""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
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


Row = dict[str, float | int | str]

SHOWN = {
    "encoder/R_g": "R_g",
    "encoder/supervised": "sup",
    "gan/L_rec": "rec",
    "gan/generator": "G",
    "gan/discriminator": "D",
}
WATCHED = {"monitors/spread": "spread {:.2f}", "monitors/nearest": "nearest {:.3f}", "monitors/alarms": "alarms {:.0f}"}


class Rate(ProgressColumn):
    """Iterations a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("– it/s" if speed is None else f"{speed:.1f} it/s", style="progress.data.speed")


class Display:
    """`with Display(total, done) as display:`; `advance` moves the bar, `note` prints a line at every validation."""

    def __init__(self, total: int, done: int) -> None:
        self.console = Console(stderr=True)
        self.total = total
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("train", total=total, completed=done, losses="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, done: int, stage: str, losses: dict[str, float]) -> None:
        """Move the bar to `done` iterations."""
        text = "  ".join(f"{short} {losses[name]:.3f}" for name, short in SHOWN.items() if name in losses)
        self.bar.update(self.task, completed=done, description=stage, losses=text)

    def note(self, row: Row) -> None:
        """One line for a validation row."""
        if "monitors/alarms" not in row:
            return
        error = (
            f"NME {row['validation/nme']:6.2f} %  W₁ {row['validation/w1']:6.2f} %  " if "validation/nme" in row else ""
        )
        self.console.print(
            f"{row['iteration']:>6}/{self.total} {row['stage']:<6} {error}"
            + "  ".join(text.format(row[name]) for name, text in WATCHED.items() if name in row),
            highlight=False,
            soft_wrap=True,
        )

    def trial(self, row: Row) -> None:
        """One line for a trial of the coefficients."""
        _print_trial(self.console, row)

    def alarm(self, sentence: str) -> None:
        """A monitor of collapse has just fired."""
        self.console.print(f"  collapse alarm: {sentence}", style="yellow", highlight=False, soft_wrap=True)


class Trials:
    """`with Trials(total) as display:` a bar over the trials of a search; `ended` prints one and moves the bar."""

    def __init__(self, total: int) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("[bold]tune"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("tune", total=total, best="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def ended(self, row: Row) -> None:
        """A trial of any worker has ended."""
        self.bar.update(self.task, advance=1, best=f"best W₁ {row['tuning/best']:.2f} %")
        _print_trial(self.console, row)


def _print_trial(console: Console, row: Row) -> None:
    found = "  ".join(f"{name[7:]} {float(row[name]):.3g}" for name in row if name.startswith("tuning/c"))
    console.print(
        f"  trial {float(row['tuning/trial']):>3.0f}  W₁ {row['tuning/score']:6.2f} %  "
        f"best {row['tuning/best']:6.2f} %  {found}",
        highlight=False,
        soft_wrap=True,
    )


T = TypeVar("T")


class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f}/s")


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items, with a bar on stderr that counts them."""
    text = TextColumn("{task.description}")
    with Progress(text, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(), console=_console()) as bar:
        yield from bar.track(items, total=total, description=description)


@contextmanager
def transfer(description: str, total: int | None, start: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar on stderr that counts bytes from `start` to `total`: yields the function that takes each block's length."""
    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console()) as bar:
        task = bar.add_task(description, total=total, completed=start)
        yield lambda count: bar.advance(task, count)


def _console() -> Console:
    return Console(stderr=True)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """`with Stop() as stop:` the first signal only sets `stop.signal`; a second one acts as it always does.

    A signal that the process was started to ignore (a job of `nohup`, of a shell's background) stays ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells expect."""
        return 128 + (self.signal or 0)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            self._before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
