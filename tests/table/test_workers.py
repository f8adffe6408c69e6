"""Several runs of a table at once: their order, what a failure and a Ctrl-C take down, and what each run is given."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from brule.stages import table
from brule.stages.table import Launcher, Ledger
from brule.stages.table.launcher import FailedError, Outcome

Rows = list[dict[str, Any]]
Jobs = Callable[..., tuple[table.Table, list[table.Job]]]
Stubs = Callable[..., Any]
# Stands for DVC. A run says that it has begun, then does what the file of its name says, or makes its experiment.
DVC = """
import json, os, pathlib, subprocess, sys, time
words, here = sys.argv[1:], pathlib.Path()
def git(*words, **more):
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True, **more).stdout.strip()
def experiment(name):
    head = git("rev-parse", "HEAD")
    files = {"metrics.json": {"name": name}, "train.json": dict(os.environ)}
    blobs = {n: git("hash-object", "-w", "--stdin", input=json.dumps(text)) for n, text in files.items()}
    inner = git("mktree", input="".join(f"100644 blob {blob}\\t{n}\\n" for n, blob in blobs.items()))
    tree = git("mktree", input=f"040000 tree {inner}\\tresults\\n")
    commit = git("commit-tree", tree, "-p", head, "-m", name)
    git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
if "run" in words:
    name = words[words.index("--name") + 1]
    with open("calls", "a") as calls:
        calls.write(json.dumps(words) + "\\n")
    script = here / f"{name}.script"
    print("a warning\\nReproducing experiment", name)
    exec(script.read_text() if script.exists() else "experiment(name)")
elif "get" in words:
    kept = {"results/run.json": b'{"seconds": 60.0}', "models/detector.safetensors": b"weights"}
    pathlib.Path(words[words.index("--out") + 1]).write_bytes(next(kept[word] for word in words if word in kept))
"""


@pytest.fixture
def repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project under git, where `python -m dvc` is the stand-in."""
    (project / "fake" / "dvc").mkdir(parents=True)
    (project / "fake" / "dvc" / "__init__.py").touch()
    (project / "fake" / "dvc" / "__main__.py").write_text(DVC)
    monkeypatch.setenv("PYTHONPATH", str(project / "fake"))
    for key in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{key}_NAME", "t")
        monkeypatch.setenv(f"GIT_{key}_EMAIL", "t@t")
    for words in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-c", "commit.gpgsign=false", *words], cwd=project, check=True)
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def parameters(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(project / "params.yaml")
    return found


class Meeting:
    """Runs that are waited for: each notes who runs beside it, and the first two go on only when both are there."""

    def __init__(self, stub: Any) -> None:
        self.stub, self.both, self.lock = stub, threading.Barrier(2), threading.Lock()
        self.now, self.seen = set[str](), list[set[str]]()

    def __call__(self, name: str, parameters: dict[str, Any]) -> Outcome:
        with self.lock:
            self.now.add(name)
            self.seen.append(set(self.now))
        try:
            if name.startswith("t-first"):
                self.both.wait(20)
            with self.lock:
                outcome: Outcome = self.stub(name, parameters)
            return outcome
        finally:
            with self.lock:
                self.now.remove(name)


def test_so_many_run_at_once_and_none_before_the_one_it_starts_from(
    project: Path, jobs: Jobs, new_stub: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers, keep = set[threading.Thread](), Ledger.keep
    monkeypatch.setattr(Ledger, "keep", lambda *args: (writers.add(threading.current_thread()), keep(*args)))
    launch = Meeting(stub := new_stub())
    ledger = Ledger(project, "t")
    assert not table.complete(jobs()[1], ledger, "t", launch, workers=2).failed
    assert launch.seen[1] == {"t-first-0", "t-first-1"}
    assert max(map(len, launch.seen)) == 2
    entries = ledger.entries()
    for index, start in enumerate(["first-0", "first-1", "first-0"]):
        assert Path(stub.runs[f"second-{index}"]["train"]["initial"]) == ledger.weights(entries[start])
        assert entries[f"second-{index}"].initial == entries[start].weights
    assert writers == {threading.main_thread()}


def test_a_failure_takes_down_its_dependants_alone_while_others_run(project: Path, jobs: Jobs, new_stub: Stubs) -> None:
    launch = Meeting(new_stub(fails="first-0"))
    summary = table.complete(jobs()[1], Ledger(project, "t"), "t", launch, workers=2)
    assert summary.failed == ["first-0 failed: exit status 7"]
    assert [sentence.split()[0] for sentence in summary.skipped] == ["second-0", "second-2"]
    assert set(Ledger(project, "t").entries()) == {"first-1", "second-1"}


def test_a_run_that_needs_a_gpu_is_left_where_there_is_none(
    project: Path, rows: Rows, jobs: Jobs, new_stub: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    every = jobs(rows=[rows[0] | {"settings": {"machine.device": "cuda"}}, rows[1]])[1]
    summary = table.complete(every, Ledger(project, "t"), "t", new_stub())
    assert summary.skipped[0] == "first-0 needs a GPU, and torch finds none here"
    assert not summary.failed and len(summary.skipped) == 5
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert not table.complete(every, Ledger(project, "t"), "t", new_stub()).skipped


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where these tests were started in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_ctrl_c_ends_every_run_and_keeps_what_is_measured(
    heard: None, repository: Path, jobs: Jobs, new_stub: Stubs, parameters: dict[str, Any]
) -> None:
    every, ledger, outcome = jobs()[1], Ledger(repository, "t"), new_stub()("t-first-0", {})
    long = "import signal\nprint('long', os.getpid())\npathlib.Path(name + '.pid').write_text(str(os.getpid()))\n"
    for name, script in {
        "t-first-0": "experiment(name)",
        "t-first-1": long + "time.sleep(600)",
        "t-second-0": long + "signal.signal(signal.SIGINT, lambda *_: sys.exit(3))\ntime.sleep(600)",
    }.items():
        (repository / f"{name}.script").write_text(script)

    class Real(Launcher):
        def __call__(self, name: str, parameters: dict[str, Any]) -> Outcome:
            super().__call__(name, parameters)
            return outcome  # what the stand-in leaves has no scores

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not all(
            (repository / f"t-{name}.pid").exists() for name in ("first-1", "second-0")
        ):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt), Real(repository, 2) as launch:
        pool.submit(interrupt)
        table.complete(every, ledger, "t", launch, 2)
    assert set(ledger.entries()) == {"first-0"}
    for name in ("first-1", "second-0"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((repository / f"t-{name}.pid").read_text()), 0)
    assert not (repository / "t-second-1.pid").exists()
    with pytest.raises(FailedError, match="stopped before it started"):
        launch("late", parameters)


def test_each_has_its_gpu_or_its_threads_and_its_name_before_every_line(
    repository: Path, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        wait = f"experiment(name)\nwhile not (here / '{other}.at').exists(): time.sleep(0.02)"
        (repository / f"{name}.script").write_text(f"(here / '{name}.at').touch()\n{wait}\nprint('done')")
    monkeypatch.setattr("brule.cores.available", lambda: 5)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for count, given in ((2, {"0", "1"}), (1, {"0"}), (0, {None})):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with Launcher(repository, 2) as launch, ThreadPoolExecutor(2) as pool:
            found = list(pool.map(launch, ("a", "b"), (parameters, parameters)))
        assert [(one.metrics, one.weights) for one in found] == [({"name": n}, b"weights") for n in "ab"]
        assert {one.train.get("CUDA_VISIBLE_DEVICES") for one in found} == given
        for path in repository.glob("?.at"):
            path.unlink()
    calls = [json.loads(line) for line in (repository / "calls").read_text().splitlines()]
    assert len(calls) == 6 and all("machine.threads=2" in words for words in calls)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("a | ", "b | ", "$ dvc exp run --name ")) for line in lines)
    assert lines.count("a | done") == lines.count("b | done") == 3


def test_one_run_alone_is_told_nothing(repository: Path, parameters: dict[str, Any]) -> None:
    with Launcher(repository) as launch:
        assert "PYTHONUNBUFFERED" not in set(launch("a", parameters).train) - set(os.environ)
    assert not [word for word in json.loads((repository / "calls").read_text()) if word.startswith("machine")]


def test_a_run_starts_when_the_one_before_it_has_begun(repository: Path, parameters: dict[str, Any]) -> None:
    slow = "raise SystemExit(4)"
    (repository / "a.script").write_text(slow)
    with Launcher(repository, 2) as launch:
        launch._starting.acquire()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(launch, "b", parameters)
            time.sleep(0.5)
            assert not (repository / "calls").exists(), "another one is starting"
            launch._starting.release()
            assert waiting.result().metrics == {"name": "b"}
        with pytest.raises(FailedError, match="exit status 4"):
            launch("a", parameters)


def test_a_run_that_an_ending_one_has_taken_over_is_waited_for(repository: Path, parameters: dict[str, Any]) -> None:
    """DVC's loop over the stash: `late` finds it empty and ends at once, `early` makes both, and its end fails."""
    late = "while not (here / 'late.at').exists(): time.sleep(0.02)\ntime.sleep(0.5)\nexperiment('late')\nsys.exit(1)"
    (repository / "early.script").write_text(f"experiment(name)\n{late}")
    (repository / "late.script").write_text("(here / 'late.at').touch()")
    with Launcher(repository, 2) as launch, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(launch, ("early", "late"), (parameters, parameters)))
        assert [one.metrics for one in found] == [{"name": "early"}, {"name": "late"}]
    with Launcher(repository, 2) as launch, pytest.raises(FailedError, match="without an experiment"):
        (repository / "lost.script").write_text("pass")
        launch("lost", parameters)
