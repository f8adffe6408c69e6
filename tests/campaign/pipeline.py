"""The tiniest run, stage by stage, in processes that can be killed: each does what `python pipelines/STAGE.py` does."""

import fcntl
import hashlib
import json
import os
import random
import runpy
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from conftest import SHAPE, parameters
from mangled import scene
from PIL import Image

from brule.data.pts import format_pts
from brule.documents import parse_yaml
from campaign.harms import hurt, hurt_tree
from campaign.verdicts import FailedError, expect, leftovers, sentence

ROOT = Path(__file__).parents[2]
STAGES = ("download", "prepare", "barycenter", "train", "evaluate")
TUNING = {"iterations": 1, "directions": 2, "tolerance": 0.4}
WORK = "CAMPAIGN_WORK"
"""The environment variable with the folder that all processes of a campaign share."""
LONGEST = 120
"""Seconds of any stage of the tiniest run, on a busy machine."""
_TRACKED = 15.0
"""Seconds in which MLflow is loaded, makes its database and tracks the tiniest training."""


class Ended(NamedTuple):
    code: int
    """As a shell counts: 128 + the signal that killed it."""
    told: str
    seconds: float


def run(stage: str, project: Path, *words: str, killed_after: float | None = None, tracked: bool = False) -> Ended:
    """Run a stage in that folder, and kill it after some seconds unless it ends before. MLflow, if `tracked`, takes
    far longer than a tiny stage."""
    log, begun = project / f".{stage}.log", time.monotonic()
    log.touch()
    process = os.fork()
    if process == 0:
        _become(stage, project, log, words, tracked)
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


def _become(stage: str, project: Path, log: Path, words: tuple[str, ...], tracked: bool) -> None:
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
        if not tracked:
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


def tracked(rng: random.Random, folder: Path) -> None:
    """A training that MLflow tracks is killed at random moments, many while its database is made; then it goes on, and
    its run is whole."""
    project = before("train", folder)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if run("train", project, killed_after=rng.uniform(0, _TRACKED), tracked=True).code == 0:
            break
    ended = run("train", project, tracked=True)
    expect(ended.code == 0, f"after a kill: exit code {ended.code}: {ended.told[-300:]!r}")
    expect("MLflow" not in ended.told, f"MLflow is not well: {ended.told[-300:]!r}")
    same("train", project)
    found = json.loads((project / "results/run.json").read_text())["mlflow_run_id"]
    with closing(sqlite3.connect(project / "mlflow.db")) as database:
        status = database.execute("SELECT status FROM runs WHERE run_uuid = ?", (found,)).fetchone()
    expect(status == ("FINISHED",), f"the status of its run is {status}")


def mangled(stage: str, rng: random.Random, folder: Path) -> None:
    """A mishap befalls one of a stage's inputs: it works with it all the same, or refuses in a sentence that names it
    or the folder that a stage before has made."""
    project = before(stage, folder)
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in inputs(stage, project):
        kinds.setdefault((path.parent, path.suffix), []).append(path)
    path = rng.choice(rng.choice(list(kinds.values())))
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.6:
        path.write_text(json.dumps(hurt_tree(json.loads(data), rng)))
    else:
        path.write_bytes(hurt(data, rng))
    ended = run(stage, project)
    if ended.code:
        refused(ended, path.name, "data/raw", "data/crops")
    left = [path for path in leftovers(project) if ".resume" not in path.parts]
    expect(not left, f"it leaves {left[:3]}")


@cache
def _dependencies(stage: str) -> list[str]:
    return list(parse_yaml((ROOT / "dvc.yaml").read_text(), Path("dvc.yaml"))["stages"][stage]["deps"])


def inputs(stage: str, project: Path) -> list[Path]:
    """The files that a stage reads and that other stages have made, as dvc.yaml has them."""
    places = [project / name for name in _dependencies(stage)]
    every = [file for place in places for file in ((place, *place.rglob("*")) if place.exists() else ())]
    return sorted({file for file in every if file.is_file()})
