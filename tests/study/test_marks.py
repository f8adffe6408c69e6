"""The trials of dead workers are found and released, those of living ones are left alone."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from brule.stages.study import marks, storage
from brule.stages.study.marks import asked, release_lost
from brule.stages.study.storage import join

sys.path.insert(0, str(Path(__file__).parent))
import errands

SPACE = {"c5": FloatDistribution(1.0, 10.0)}


def joined(url: str) -> optuna.Study:
    return join(url, "search", RandomSampler(seed=0))


def killed_worker(url: str) -> None:
    """A worker is killed while it evaluates a trial."""
    process, talk = errands.send(errands.ask, url)
    talk.send("go")
    assert talk.recv() == "asked"
    process.kill()
    process.join()


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def test_the_trial_of_a_killed_worker_is_released_and_that_of_a_living_one_goes_on(url: str) -> None:
    killed_worker(url)
    study = joined(url)
    with asked(study, SPACE):
        assert release_lost(study) == [0]
        assert release_lost(study) == []
        assert states(study) == [TrialState.FAIL, TrialState.RUNNING]


def test_a_dead_worker_is_dead_before_its_parent_takes_notice() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it ends, and stays in the list of processes
    assert marks._started(child.pid) is None and marks._started(os.getpid()) is not None
    child.wait()
    assert marks._started(child.pid) is None


def test_two_workers_may_release_the_same_trial_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_worker(url)
    first, second, judge = joined(url), joined(url), marks._lost

    def overtaken(*arguments) -> bool:
        monkeypatch.setattr(marks, "_lost", judge)
        assert release_lost(second) == [0]
        return judge(*arguments)

    monkeypatch.setattr(marks, "_lost", overtaken)
    assert release_lost(first) == [0]
    assert states(first) == [TrialState.FAIL]


@pytest.mark.parametrize(
    ("mark", "lost"),
    [
        ({}, False),
        ({"started": 1}, True),  # another process has the number now
        ({"boot": "before"}, True),  # the machine was restarted
        ({"host": "another"}, False),
        ({"host": "another", "boot": "its own"}, False),
        ({"space": "pid:[1]"}, False),  # a container, whose processes are not to be seen
    ],
)
def test_a_journals_workers_judge_their_own_machine_alone(mark: dict, lost: bool, tmp_path: Path) -> None:
    study = joined(f"journal:{tmp_path / 'tuning.journal'}")
    trial = study.ask()
    trial.set_user_attr("worker", study.trials[0].user_attrs["worker"] | mark)
    assert release_lost(study) == ([0] if lost else [])
    assert release_lost(study, alone=True) == ([] if lost else [0])


def test_a_database_judges_far_workers_by_their_signs_of_life(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 4)
    study = joined(server.database())
    with asked(study, SPACE) as trial:
        trial.set_user_attr("worker", study.trials[0].user_attrs["worker"] | {"host": "another", "boot": "its own"})
        time.sleep(4.5)
        assert release_lost(study) == []
        monkeypatch.setattr(study._storage, "record_heartbeat", lambda _: None)
        deadline = time.monotonic() + 30
        while not (released := release_lost(study)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert released == [0]
    assert states(study) == [TrialState.FAIL]


def test_signs_of_life_outlast_a_restart_of_the_server(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    study = joined(server.database())
    with asked(study, SPACE) as trial:
        server.stop()
        time.sleep(1.2)  # at least one beat meets no server
        server.start()
        beats = []
        monkeypatch.setattr(study._storage._backend, "record_heartbeat", beats.append)
        deadline = time.monotonic() + 30
        while not beats and time.monotonic() < deadline:
            time.sleep(0.05)
        study.tell(trial, 1.0)
    assert beats and states(study) == [TrialState.COMPLETE]


def test_a_trial_taken_from_the_queue_is_marked_as_well(tmp_path: Path) -> None:
    joined(url := f"journal:{tmp_path / 'tuning.journal'}").enqueue_trial({"c5": 2.0})
    killed_worker(url)
    assert release_lost(joined(url)) == [0]


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(("error", "lost"), [(KeyboardInterrupt, True), (SystemExit, True), (ZeroDivisionError, False)])
def test_a_trial_fails_with_its_evaluation_and_is_lost_by_an_interrupt(
    error: type[BaseException], lost: bool, released: bool, tmp_path: Path
) -> None:
    study = joined(f"journal:{tmp_path / 'tuning.journal'}")
    with pytest.raises(error), asked(study, SPACE):
        if released:
            release_lost(study, alone=True)
        raise error
    assert states(study) == [TrialState.FAIL]
    assert study.trials[0].user_attrs.get("lost", False) == (lost or released)
