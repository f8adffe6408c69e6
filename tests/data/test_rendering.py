"""Faces drawn by several processes: the same as by one, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brule.config import Synthetic
from brule.data import rendering
from brule.data.rendering import draw
from brule.errors import BruleError

SOURCE = str(Path(__file__).parents[2] / "src")
FEW = Synthetic(train=4, validation=1, test=1, size=32)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_processes_draw_what_one_draws(tmp_path: Path, monkeypatch):
    draw(FEW, 3, tmp_path / "one")
    monkeypatch.setattr(rendering, "WORTHWHILE", 3)
    monkeypatch.setattr("brule.cores.available", lambda: 2)
    environment = dict(os.environ)
    draw(FEW, 3, tmp_path / "two")
    assert len(content(tmp_path / "one")) == 12
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert dict(os.environ) == environment


def test_an_error_in_a_worker_reaches_the_caller(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        list(rendering._drawn_by(1, [(0, 0, 32, str(tmp_path / "nowhere" / "0"))]))


def test_a_killed_worker_gets_one_sentence(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(rendering, "WORTHWHILE", 1)
    monkeypatch.setattr(rendering, "_drawn_by", lambda workers, tasks: iter([None] * (len(tasks) - 1)))
    with pytest.raises(BruleError, match=r"data\.synthetic: a rendering process was killed"):
        draw(FEW, 0, tmp_path / "x")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_an_interrupted_run(tmp_path: Path, how: int):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from brule.config import Synthetic\nfrom brule.data import rendering\n"
        "from brule.terminal import main\n"
        "rendering.cores.available = lambda: 2\n"
        "if __name__ == '__main__':\n"
        "    main(lambda: rendering.draw(Synthetic(train=5000, validation=1, test=1, size=32), 0, Path('out')))\n"
    )
    # The workers hold the writing end of this pipe: it ends when the last of them has.
    run = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    begun, deadline = tmp_path / "out" / "train" / "00003.pts", time.monotonic() + 120
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert begun.exists()
    run.send_signal(how)
    run.communicate(timeout=60)
    assert run.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
