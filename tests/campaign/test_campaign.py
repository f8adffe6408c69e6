"""A small campaign, the same cases every time. `make campaign` tries thousands."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = os.pathsep.join(str(ROOT / place) for place in ("src", "tests", "tests/data"))


def test_whatever_is_broken_killed_or_full_gets_a_right_result_or_one_sentence() -> None:
    environment = os.environ | {"PYTHONPATH": PLACES}

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=1200)

    kinds = ran("-c", "from campaign.kinds import KINDS; print(*KINDS)").stdout.split()
    done = ran("-m", "campaign", "--small")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert kinds and rows >= {*kinds, "all"}
    for line in done.stdout.splitlines():
        if line.startswith("not tried:"):
            warnings.warn(line, stacklevel=1)
