"""A small campaign, the same cases every time. `make campaign` tries thousands."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = os.pathsep.join(str(ROOT / place) for place in ("src", "tests", "tests/data"))


def test_whatever_is_broken_killed_or_full_gets_a_right_result_or_one_sentence() -> None:
    command = [sys.executable, "-m", "campaign", "--small"]
    environment = os.environ | {"PYTHONPATH": PLACES}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert all(f"\n{kind}" in done.stdout.replace(" ", "") for kind in ("file/image", "request", "kill/train", "all"))
