"""A search that is killed, and one that workers share, takes the path of a worker that nobody disturbs."""

import random
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from optuna.trial import TrialState

from brule.stages.study import WORKER, join

sys.path.insert(0, str(Path(__file__).parent))
import errands

STEPS = 40


def steps(url: str) -> int:
    """A server asks for more time than a file, on a machine that has one core for both sides."""
    return STEPS if url.startswith("journal:") else STEPS * 2 // 5


@pytest.fixture(scope="module")
def undisturbed() -> list[tuple]:
    return errands.undisturbed(STEPS)


def worker(url: str, hangs: int = -1) -> tuple[BaseProcess, Connection]:
    return errands.send(errands.work, url, steps(url), hangs)


def killed(process: BaseProcess, talk: Connection, trial: int, seconds: float) -> None:
    """Kill a worker this many seconds after it has begun this trial, or a later one."""
    while talk.recv() < trial:
        pass
    time.sleep(seconds)
    process.kill()
    process.join()


def finished(*workers: tuple[BaseProcess, Connection]) -> bool:
    """Wait for them; whether all ended well."""
    for process, _ in workers:
        process.join()
    return all(process.exitcode == 0 for process, _ in workers)


def test_a_search_killed_again_and_again_takes_the_same_path(url: str, undisturbed: list[tuple]) -> None:
    rng = random.Random(0)
    killed(*worker(url, hangs=6), 6, 0)
    killed(*worker(url, hangs=7), 7, 0)  # the same probe once more
    killed(*worker(url), 11, rng.uniform(0, 0.05))
    killed(*worker(url), 15, rng.uniform(0, 0.05))
    assert finished(worker(url))
    search = errands.sampler()
    study = join(url, "search", search).study
    assert errands.path(study, search, steps(url)) == undisturbed[: steps(url)]
    states = [trial.state for trial in study.trials]
    assert states[6] is states[7] is TrialState.FAIL
    assert states.count(TrialState.FAIL) + states.count(TrialState.COMPLETE) == len(states)


def test_two_workers_evaluate_no_probe_twice_and_take_the_path_of_one(url: str, undisturbed: list[tuple]) -> None:
    assert finished(worker(url), worker(url))
    search = errands.sampler()
    study = join(url, "search", search).study
    assert errands.path(study, search, steps(url)) == undisturbed[: steps(url)]
    done = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert len({tuple(trial.params.items()) for trial in done}) == len(done)
    assert len({trial.user_attrs[WORKER] for trial in done}) == 2


def test_a_worker_goes_on_where_another_was_killed_beside_it(url: str, undisturbed: list[tuple]) -> None:
    doomed, talk = worker(url, hangs=5)
    while talk.recv() < 5:
        pass
    survivor = worker(url)
    survivor[1].recv()  # it is at work beside the other
    doomed.kill()
    doomed.join()
    assert finished(survivor)
    search = errands.sampler()
    study = join(url, "search", search).study
    assert errands.path(study, search, steps(url)) == undisturbed[: steps(url)]
    assert [trial.state for trial in study.trials].count(TrialState.FAIL) == 1


def test_a_journal_cut_at_any_byte_leads_to_the_same_path(tmp_path: Path) -> None:
    search, file = errands.sampler(remeasure=True), tmp_path / "tuning.journal"
    shared = join(str(file), "search", search)
    errands.evaluate(shared, search, STEPS)
    whole, path = file.read_bytes(), errands.path(shared.study, search, STEPS)
    for place in random.Random(1).sample(range(len(whole)), 6):
        file.write_bytes(whole[:place])
        shared = join(str(file), "search", search)
        errands.evaluate(shared, search, STEPS)
        assert errands.path(shared.study, search, STEPS) == path
