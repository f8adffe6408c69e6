"""The tiniest run, stage by stage, in processes that can be killed: each does what `python pipelines/STAGE.py` does."""

import fcntl
import hashlib
import json
import os
import random
import runpy
import shutil
import signal
import sys
import time
import traceback
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from conftest import SHAPE, parameters
from mangled import scene
from PIL import Image

from brule.data.landmarks import format_pts
from campaign.verdicts import FailedError, expect, sentence

ROOT = Path(__file__).parents[2]
STAGES = ("download", "prepare", "barycenter", "train", "evaluate")
TUNING = {"iterations": 1, "directions": 2, "tolerance": 0.4}
WORK = "CAMPAIGN_WORK"
"""The environment variable with the folder that all processes of a campaign share."""
LONGEST = 120
"""Seconds of any stage of the tiniest run, on a busy machine."""


class Ended(NamedTuple):
    code: int
    """As a shell counts: 128 + the signal that killed it."""
    told: str
    seconds: float


def run(stage: str, project: Path, *words: str, killed_after: float | None = None) -> Ended:
    """Run a stage in that folder, and kill it after some seconds unless it ends before."""
    log, begun = project / f".{stage}.log", time.monotonic()
    log.touch()
    process = os.fork()
    if process == 0:
        _become(stage, project, log, words)
    end = begun + (LONGEST if killed_after is None else killed_after)
    while (found := os.waitpid(process, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            found = os.waitpid(process, 0)
            if killed_after is None:
                raise FailedError(f"{stage}: it has not ended after {LONGEST} s")
            break
        time.sleep(0.001)
    told = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    code = os.waitstatus_to_exitcode(found[1])
    expect("Traceback" not in told, f"{stage}: a traceback: {told.strip().splitlines()[-1:]}")
    return Ended(code if code >= 0 else 128 - code, told, time.monotonic() - begun)


def _become(stage: str, project: Path, log: Path, words: tuple[str, ...]) -> None:
    """In a fresh process: the script of a stage, to its end."""
    code = 1
    try:
        with open(log, "wb", buffering=0) as stream:
            os.dup2(stream.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115 - to the end of the process
        os.chdir(project)
        os.environ.pop("DVC_ROOT", None)
        script = str(ROOT / "pipelines" / f"{stage}.py")
        sys.argv = [script, *words]
        sys.modules["mlflow"] = None  # type: ignore[assignment]
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def refused(ended: Ended, *named: str) -> None:
    """Raise FailedError unless the stage has ended with one sentence."""
    expect(ended.code == 1, f"exit code {ended.code} after {ended.told[-200:]!r}")
    lines = [line for line in ended.told.splitlines() if line.strip()]
    sentence(lines[-1] if lines else "", *named)


# ------------------------------------------------------------------------------------------------- undisturbed projects


@cache
def undisturbed() -> Path:
    """A folder with a project before each stage, and one after all: made once, by whichever process comes first."""
    place = Path(os.environ[WORK]) / "undisturbed"
    with open(f"{place}.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not place.exists():
            _make(fresh := place.with_name("fresh"))
            fresh.rename(place)
    return place


def _make(place: Path) -> None:
    project = place / "project"
    (project / "photos").mkdir(parents=True)
    for number in range(20):
        Image.fromarray(np.asarray(scene(number))).save(project / "photos" / f"{number}.png")
        shift = np.random.default_rng(number).uniform(-2, 2, SHAPE.shape)
        (project / "photos" / f"{number}.pts").write_text(format_pts(SHAPE * 44 + shift))
    raw = parameters(
        data={"source": "folder", "location": "photos", "normaliser": None},
        prepare={"validation": 0.2, "test": 0.2},
        barycenter={"iterations": 3},
        evaluate={"overlays": 2},
        tuning=TUNING,
    )
    (project / "params.yaml").write_text(json.dumps(raw))
    seconds = {}
    for stage in STAGES:
        shutil.copytree(project, place / f"before-{stage}")
        ended = run(stage, project)
        assert ended.code == 0, f"{stage}: {ended.told}"
        seconds[stage] = ended.seconds
    shutil.copytree(project, place / "before-tune")
    ended = run("tune", project, "--trials", "3")
    assert ended.code == 0, f"tune: {ended.told}"
    seconds["tune"] = ended.seconds
    (place / "seconds.json").write_text(json.dumps(seconds))


def seconds(stage: str) -> float:
    found: float = json.loads((undisturbed() / "seconds.json").read_text())[stage]
    return found


def before(stage: str, folder: Path) -> Path:
    """A copy of the project as this stage finds it."""
    return Path(shutil.copytree(undisturbed() / f"before-{stage}", folder / "project"))


_OUTPUTS = {
    "download": ("data/raw",),
    "prepare": ("data/crops",),
    "barycenter": ("data/barycenter.npy",),
    "train": ("models/detector.safetensors", "models/gan.safetensors", "results/history.csv"),
    "evaluate": ("results/metrics.json", "results/ced.csv"),
    "tune": ("results/tuning/trials.csv",),
}
_UNLIKE = ("seconds", "images_per_second", "alarms", "tuning/trial", "tuning/incumbent")
"""What depends on the clock, or on how many trials were cut short."""


def same(stage: str, project: Path) -> None:
    """Raise FailedError unless the stage's outputs are those of the undisturbed run, bit for bit."""
    for output in _OUTPUTS[stage]:
        ours, theirs = project / output, undisturbed() / "project" / output
        expect(ours.exists(), f"{output} is missing")
        if theirs.is_dir():
            files = {str(path.relative_to(theirs)) for path in theirs.rglob("*") if path.is_file()}
            found = {str(path.relative_to(ours)) for path in ours.rglob("*") if path.is_file()}
            expect(files == found, f"{output} has other files: {sorted(files ^ found)[:3]}")
            wrong = [name for name in sorted(files) if (ours / name).read_bytes() != (theirs / name).read_bytes()]
            expect(not wrong, f"{output} differs in {wrong[:3]}")
        else:
            expect(_essence(ours) == _essence(theirs), f"{output} differs from that of the undisturbed run")


def _essence(path: Path) -> object:
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        return table.drop(columns=[name for name in table if name in _UNLIKE]).to_csv(index=False)
    if path.suffix == ".json":
        return {name: value for name, value in json.loads(path.read_text()).items() if name not in _UNLIKE}
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --------------------------------------------------------------------------------------------------------------- harms


def kill(stage: str, rng: random.Random, folder: Path) -> None:
    """Killed at random moments, up to three times; then the same command goes on to the same outputs."""
    project, words = before(stage, folder), ("--trials", "3") if stage == "tune" else ()
    for _ in range(rng.choice((1, 1, 2, 3))):
        if run(stage, project, *words, killed_after=rng.uniform(0, 1.1 * seconds(stage))).code == 0:
            break
    ended = run(stage, project, *words)
    expect(ended.code == 0, f"{stage} after a kill: exit code {ended.code}: {ended.told[-300:]!r}")
    same(stage, project)


def checkpoint(rng: random.Random, folder: Path) -> None:
    """A training is killed once it has a state, which then is mangled: it resumes from it, or names it."""
    from campaign.harms import hurt

    project = before("train", folder)
    for share in (0.7, 0.8, 0.9, 1.0):
        run("train", project, killed_after=share * seconds("train"))
        if found := list(project.glob(".resume/*/state.pt")):
            break
    else:
        return
    found[0].write_bytes(hurt(found[0].read_bytes(), rng))
    ended = run("train", project)
    if ended.code:
        refused(ended, "state.pt")
        found[0].unlink()
        expect((ended := run("train", project)).code == 0, f"afresh: {ended.told[-300:]!r}")
        same("train", project)
