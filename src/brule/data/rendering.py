"""The built-in data set: rendered faces, written as image files with `.pts` by one process per core."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from brule import cores
from brule.data.layouts import Found, Split
from brule.data.pts import format_pts
from brule.errors import BruleError
from brule.synthetic import render
from brule.terminal import track

if TYPE_CHECKING:
    from brule.config import Synthetic


FIRST: dict[Split, int] = {"train": 0, "validation": 10**8, "test": 2 * 10**8}
"""Each split has its own range of indices, so that the number of training faces does not change the test faces."""
WORTHWHILE = 32
"""Starting another process pays from this many faces on."""
REPORTED = 16
"""Faces that a worker draws before it reports. A message for every face would cost more than the bar is worth."""

Task = tuple[int, int, int, str]
"""seed, index, size in pixels, file without suffix"""


def draw(parameters: "Synthetic", seed: int, folder: Path) -> list[Found]:
    """Render every split into `folder`/split/00000.jpg and .pts. Returns what was drawn."""
    counts: dict[Split, int] = {
        "train": parameters.train,
        "validation": parameters.validation,
        "test": parameters.test,
    }
    tasks, found = [], []
    for split, count in counts.items():
        (folder / split).mkdir(parents=True)
        for number in range(count):
            stem = folder / split / f"{number:05d}"
            tasks.append((seed, FIRST[split] + number, parameters.size, str(stem)))
            name = f"{split}/{number:05d}.jpg"
            found.append(Found(stem.with_suffix(".jpg"), name, name, stem.with_suffix(".pts"), split))
    workers = min(cores.available(), len(tasks) // WORTHWHILE)
    drawn = map(_draw, tasks) if workers <= 1 else _drawn_by(workers, tasks)
    if sum(1 for _ in track(drawn, "Rendering faces", len(tasks))) < len(tasks):
        raise BruleError("data.synthetic: a rendering process was killed; free some memory and run again")
    return found


def _drawn_by(workers: int, tasks: Sequence[Task]) -> Iterator[None]:
    """One item for each face drawn by `workers` processes, or fewer if one was killed.

    Plain processes, each with its share of the tasks and a pipe: they end whenever the parent ends, since their pipe
    then breaks. An executor's workers would wait for ever. They are spawned, because a fork beside the progress bar's
    thread can deadlock.
    """
    context = get_context("spawn")
    processes: list[SpawnProcess] = []
    pipes: list[Connection] = []
    try:
        with _one_thread_each():
            for first in range(workers):
                receiver, sender = context.Pipe(duplex=False)
                processes.append(context.Process(target=_work, args=(tasks[first::workers], sender), daemon=True))
                processes[-1].start()
                sender.close()
                pipes.append(receiver)
        while pipes:
            for pipe in wait(pipes):
                assert isinstance(pipe, Connection)
                try:
                    report = pipe.recv()
                except EOFError:
                    pipes.remove(pipe)
                    continue
                if isinstance(report, Exception):
                    raise report
                yield from repeat(None, report)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(tasks: Sequence[Task], pipe: Connection) -> None:
    """A worker. It sends how many faces it has drawn since its last report, or the error that stopped it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; only the parent handles it
    try:
        for first in range(0, len(tasks), REPORTED):
            share = tasks[first : first + REPORTED]
            for task in share:
                _draw(task)
            pipe.send(len(share))
    except BrokenPipeError:
        return
    except Exception as error:
        pipe.send(error)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers inherit an environment in which numpy starts no threads, since each core has a worker already."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _draw(task: Task) -> None:
    seed, index, size, stem = task
    pixels, points = render(seed, index, size)
    Image.fromarray(pixels).save(f"{stem}.jpg", quality=95, subsampling=0)
    Path(f"{stem}.pts").write_text(format_pts(points), encoding="utf-8")
