"""A small campaign, the same cases every time. `make campaign` tries thousands."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from campaign.kinds import KINDS

ROOT = Path(__file__).parents[2]
PLACES = os.pathsep.join(str(ROOT / place) for place in ("src", "tests", "tests/data"))


def test_whatever_is_broken_killed_or_full_gets_a_right_result_or_one_sentence() -> None:
    command = [sys.executable, "-m", "campaign", "--small"]
    environment = os.environ | {"PYTHONPATH": PLACES}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert rows >= {*KINDS, "all"}
    for line in done.stdout.splitlines():
        if line.startswith("not tried:"):
            warnings.warn(line, stacklevel=1)
