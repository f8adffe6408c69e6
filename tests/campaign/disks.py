"""A disk that is full in the middle of a stage: a small tmpfs, where it may be mounted."""

import os
import random
import shutil
import subprocess
from pathlib import Path

from campaign import pipeline
from campaign.verdicts import NotTriedError, expect, leftovers


def full(stage: str, rng: random.Random, folder: Path) -> None:
    """A stage on a disk with too little room refuses and leaves nothing half-written; with room it goes on."""
    whole = folder / "whole"
    whole.mkdir()
    copy = pipeline.before(stage, whole)
    used = _size(copy)
    needed = max(_size(pipeline.undisturbed() / "project") - used, 200_000)
    disk = folder / "disk"
    disk.mkdir()
    _mount(disk, used + int(rng.uniform(0.02, 1) * needed))
    try:
        project, words = disk / "project", ("--trials", "3") if stage == "tune" else ()
        try:
            shutil.copytree(copy, project)
        except (OSError, shutil.Error):
            raise NotTriedError("the disk is too small for what the stage begins with") from None
        ended = pipeline.run(stage, project, *words)
        if ended.code:
            pipeline.refused(ended, "disk is full", "no space left")
            left = [path for path in leftovers(project) if ".resume" not in path.parts]
            expect(not left, f"it leaves {left[:3]}")
            _call("mount", "-o", "remount,size=200m", str(disk))
            ended = pipeline.run(stage, project, *words)
            expect(ended.code == 0, f"with room again: {ended.told[-300:]!r}")
        pipeline.same(stage, project)
    finally:
        _call("umount", "-l", str(disk))


def _size(folder: Path) -> int:
    """What the files take on a tmpfs, in whole pages, and their folders."""
    return sum(-(-path.lstat().st_size // 4096) * 4096 if path.is_file() else 4096 for path in folder.rglob("*"))


def _mount(disk: Path, size: int) -> None:
    if os.geteuid() != 0 or _call("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)):
        raise NotTriedError("no tmpfs may be mounted here")


def _call(*command: str) -> int:
    return subprocess.run(command, capture_output=True).returncode
