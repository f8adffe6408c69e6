"""Training as seen in a terminal: a bar with losses, rate and time left, or plain lines where there is no terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

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
