"""Progress bars of the data stages: how far, how fast, how long still."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

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
