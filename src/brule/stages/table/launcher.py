"""The runs of a table as DVC experiments, several at once if asked for, each beside the workspace.

DVC runs experiments side by side, but two must not start together: each passes through a stash that they share. So a
run starts when the one before it has taken its experiment out of there. A run that ends looks into the stash as well,
and may take over one that is just starting. What has succeeded is therefore told by its ref, not by an exit status.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from brule import machine
from brule.stages import experiments
from brule.stages.experiments import Parameters

STARTED = "Reproducing experiment"
"""How DVC says that an experiment has left the stash. If it ever says it otherwise, one run follows the other."""
PATIENCE = 30
"""Seconds in which a run that is told to stop may save itself, before it is told with more force."""


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind."""

    commit: str
    """The commit that it started from."""
    metrics: dict[str, Any]
    """results/metrics.json."""
    train: dict[str, Any]
    """results/train.json and results/run.json."""
    weights: bytes
    """models/detector.safetensors."""


class FailedError(Exception):
    """A run ended with an error, or its results cannot be had. The other runs go on."""


class Launcher:
    """`launch(name, parameters)`: one `dvc exp run --temp` beside the workspace of the project `root`.

    As many threads may call it at once as there are `workers`. Each then has a GPU of its own, or its share of the CPU,
    and every line of its output begins with its name. At the end of the `with`, what still runs is stopped.
    """

    def __init__(self, root: Path, workers: int = 1) -> None:
        self.root, self.workers = root, workers
        self._places = SimpleQueue[int]()
        for place in range(workers):
            self._places.put(place)
        self._starting = threading.Lock()
        self._changed = threading.Condition()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what runs: politely, then (also at another Ctrl-C) with more force."""
        with self._changed:
            self._stopped = True
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                for process in self._running:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
                with suppress(KeyboardInterrupt):
                    self._changed.wait_for(lambda: not self._running, PATIENCE)

    def __call__(self, name: str, parameters: Parameters) -> Outcome:
        """Run to the end, in place of an earlier experiment of this name, with all its output. Raises FailedError."""
        place = self._places.get()
        try:
            head, status = self._run(name, parameters, place)
            commit = self._commit(head, name, status)
        finally:
            self._places.put(place)
        return Outcome(
            commit=head,
            metrics=self._json(commit, "results/metrics.json"),
            train=self._json(commit, "results/train.json") | json.loads(self._kept(commit, "results/run.json")),
            weights=self._kept(commit, "models/detector.safetensors"),
        )

    def _run(self, name: str, parameters: Parameters, place: int) -> tuple[str, int]:
        """The commit it started from, which a commit made in the meantime moves on, and its exit status."""
        environment = dict[str, str]()
        if self.workers > 1:
            environment = machine.pin(place, parameters["machine"]["device"])
            if not parameters["machine"]["threads"]:
                parameters = experiments.merge(parameters, {"machine.threads": machine.share(self.workers)})
        with self._starting:
            head = self._out(["git", "rev-parse", "HEAD"]).decode().strip()
            words = experiments.command(self.root, name, parameters, ["--temp"], replace=True)
            process = self._open(words, environment)
            lines = process.stdout or ()  # one run alone writes to the terminal itself
            for line in lines:
                _say(name, line)
                if line.startswith(STARTED):
                    break
        for line in lines:
            _say(name, line)
        status = process.wait()
        with self._changed:
            self._running.remove(process)
            self._changed.notify_all()
        return head, status

    def _open(self, words: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
        with self._changed:
            if self._stopped:
                raise FailedError("it was stopped before it started")
            process = subprocess.Popen(
                words,
                cwd=self.root,
                env={**os.environ, **environment, **({"PYTHONUNBUFFERED": "1"} if self.workers > 1 else {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.workers > 1 else None,
                stderr=subprocess.STDOUT if self.workers > 1 else None,
                text=True,
                errors="replace",
                process_group=0,  # a Ctrl-C reaches it once, through us, whoever sends it
            )
            self._running.add(process)
            return process

    def _commit(self, head: str, name: str, status: int) -> str:
        """The experiment's commit. Without one and without an error, a run that was ending has taken it over."""
        ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"  # refs/exps/<commit it started from>/<name>
        while True:
            with self._changed:
                others = bool(self._running)
            with suppress(FailedError):
                return self._out(["git", "rev-parse", "--verify", ref]).decode().strip()
            if status:
                raise FailedError(f"dvc exp run ended with exit status {status}; its own message is above")
            if not others:
                raise FailedError("dvc exp run ended without an error and without an experiment; run the table again")
            with self._changed:
                self._changed.wait(5)

    def _json(self, commit: str, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._out(["git", "show", f"{commit}:./{path}"]))
        return found

    def _kept(self, commit: str, path: str) -> bytes:
        """An output that DVC keeps, not git."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "output"
            get = [sys.executable, "-m", "dvc", "get", "--quiet", ".", path, "--rev", commit, "--out", str(place)]
            self._out(get)
            return place.read_bytes()

    def _out(self, command: Sequence[str]) -> bytes:
        done = subprocess.run(command, cwd=self.root, capture_output=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["nothing"]
            raise FailedError(f"`{' '.join(command[:4])} …` said: {said[-1]}")
        return done.stdout


def _say(name: str, line: str) -> None:
    if line.strip():
        print(f"{name} | {line.rstrip()}\n", end="", flush=True)
