"""Processes in which cases run: one that hangs is killed and another takes its place, and none disturbs the rest."""

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from campaign import pipeline
from campaign.kinds import KINDS
from campaign.verdicts import FailedError, NotTriedError


class Case(NamedTuple):
    kind: str
    seed: int


class Told(NamedTuple):
    case: Case
    verdict: str
    """passed, failed or not tried."""
    why: str


def run(case: Case) -> Told:
    """Try a case in a folder of its own, here and now."""
    folder = Path(tempfile.mkdtemp(dir=os.environ[pipeline.WORK]))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.chdir(folder)
    try:
        KINDS[case.kind].attempt(random.Random(f"{case.kind} {case.seed}"), folder)
    except NotTriedError as error:
        return Told(case, "not tried", str(error))
    except FailedError as error:
        return Told(case, "failed", str(error))
    except Exception as error:  # of the campaign itself
        return Told(case, "failed", f"the campaign stumbled: {type(error).__name__}: {error}")
    finally:
        os.chdir("/")
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)
    return Told(case, "passed", "")


def _serve(parent: Connection) -> None:
    import torch

    os.setsid()  # a group with whatever the cases start
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # bars of stages
    while case := parent.recv():
        parent.send(run(case))


class _Worker:
    """A process, and the case it is at."""

    def __init__(self) -> None:
        context = get_context("fork")  # the libraries are loaded once, and no case has run here that left a thread
        self.talk, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,))
        self.process.start()
        theirs.close()
        self.case, self.end = Case("", 0), 0.0

    def begin(self, case: Case) -> None:
        self.case, self.end = case, time.monotonic() + KINDS[case.kind].seconds
        self.talk.send(case)

    def result(self) -> Told | None:
        """What has come of its case; None where it still runs. Of a dead or hanging process nothing else will come."""
        if self.talk.poll():
            try:
                told: Told = self.talk.recv()
                return told
            except EOFError:
                return Told(self.case, "failed", "its process has died")
        if time.monotonic() > self.end:
            return Told(self.case, "failed", "it hangs")
        return None

    def dismiss(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def tried(cases: Iterable[Case], workers: int, until: float) -> Iterator[Told]:
    """The cases one after another, on several processes, until the clock (time.monotonic) says `until`."""
    queue, busy, idle = iter(cases), list[_Worker](), [_Worker() for _ in range(workers)]
    try:
        while True:
            while idle and time.monotonic() < until and (case := next(queue, None)):
                worker = idle.pop()
                worker.begin(case)
                busy.append(worker)
            if not busy:
                return
            wait([worker.talk for worker in busy], timeout=0.5)
            for worker in list(busy):
                if told := worker.result():
                    busy.remove(worker)
                    if told.why in ("it hangs", "its process has died"):
                        worker.dismiss()
                        worker = _Worker()
                    idle.append(worker)
                    yield told
    finally:
        for worker in (*busy, *idle):
            worker.dismiss()
