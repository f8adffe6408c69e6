"""A run as a DVC experiment beside the workspace, and its results out of the experiment's commit."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brule.stages import experiments
from brule.stages.experiments import Parameters
from brule.stages.table.running import FailedError, Outcome

DETECTOR = "models/detector.safetensors"


class Launcher:
    """`launch(name, parameters)`: one `dvc exp run --temp` in the project `root`, replacing one of the same name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str, parameters: Parameters) -> Outcome:
        """Run to the end; what DVC and the stages say passes through. Raises FailedError."""
        head = self._out(["git", "rev-parse", "HEAD"]).decode().strip()  # a commit made meanwhile moves it on
        if status := experiments.run(self.root, name, parameters, ["--temp"], replace=True):
            raise FailedError(f"dvc exp run ended with exit status {status}; its own words are above")
        commit = self._commit(head, name)
        return Outcome(
            metrics=self._json(commit, "results/metrics.json"),
            train=self._json(commit, "results/train.json"),
            weights=self._detector(commit),
        )

    def _commit(self, head: str, name: str) -> str:
        # An experiment's ref is refs/exps/<commit it started from>/<name>.
        return self._out(["git", "rev-parse", "--verify", f"refs/exps/{head[:2]}/{head[2:]}/{name}"]).decode().strip()

    def _json(self, commit: str, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._out(["git", "show", f"{commit}:./{path}"]))
        return found

    def _detector(self, commit: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "detector.safetensors"
            get = [sys.executable, "-m", "dvc", "get", "--quiet", ".", DETECTOR, "--rev", commit, "--out", str(place)]
            self._out(get)
            return place.read_bytes()

    def _out(self, command: Sequence[str]) -> bytes:
        done = subprocess.run(command, cwd=self.root, capture_output=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["nothing"]
            raise FailedError(f"`{' '.join(command[:4])} …` said: {said[-1]}")
        return done.stdout
