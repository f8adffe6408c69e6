"""Workers of one search: no probe twice, and a path that neither their number nor their order nor a failure changes."""

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from brule.method import golden_section
from brule.method.golden_section import CLAIM, GoldenSectionSampler, Key, forgive

RANGES = {name: FloatDistribution(0, 1) for name in "abcd"}
MIDDLE = {name: 0.5 for name in RANGES}
quick = settings(deadline=None, max_examples=8)
seeds = st.integers(0, 10**6)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def study(seed: int = 0, **arguments: Any) -> optuna.Study:
    return optuna.create_study(sampler=GoldenSectionSampler(seed=seed, ranges=RANGES, **arguments))


def value(params: dict[str, float]) -> float:
    return float(((np.array([params[name] for name in RANGES]) - [0.2, 0.7, 0.6, 0.35]) ** 2 * [1, 2, 4, 1]).sum())


def work(a_study: optuna.Study, trials: int, workers: int = 1, seed: int = 0, failing: float = 0.0) -> optuna.Study:
    """`workers` at a time, any of whom may be the next to finish, every fourth time the one that began first.

    A share of the probes fails at its first trial.
    """
    chance, running, failed = random.Random(seed), list[optuna.Trial](), set[tuple[float, ...]]()
    for turn in range(trials):
        running.append(a_study.ask(RANGES))
        if len(running) == workers:
            trial = running.pop(chance.randrange(workers) if turn % 4 else 0)
            if chance.random() < failing and (point := tuple(trial.params.values())) not in failed:
                failed.add(point)
                a_study.tell(trial, state=TrialState.FAIL)
            else:
                a_study.tell(trial, value(trial.params))
    return a_study


def key(a_study: optuna.Study, number: int = -1) -> Key:
    """Of the probe that a trial claims, the last one if none is named."""
    return tuple(a_study.user_attrs[f"{CLAIM}:{range(len(a_study.trials))[number]}"]["key"])


def path(a_study: optuna.Study) -> list[golden_section.Step]:
    return a_study.sampler.path(a_study)  # type: ignore[attr-defined]


def essence(a_study: optuna.Study) -> list[tuple[float, ...]]:
    """The path without the numbers of its trials, which depend on the workers."""
    return [(s.line, s.direction, s.t, s.value, s.incumbent_value) for s in path(a_study)]


def points(a_study: optuna.Study) -> list[tuple[float, ...]]:
    return [tuple(trial.params.values()) for trial in a_study.trials]


@quick
@given(seeds, st.integers(2, 6), st.booleans(), st.sampled_from([0.0, 0.2]))
def test_the_path_is_that_of_a_single_worker(seed: int, workers: int, remeasure: bool, failing: float) -> None:
    alone = essence(work(study(seed, remeasure=remeasure), 45))
    together = essence(work(study(seed, remeasure=remeasure), 45, workers, seed, failing))
    assert together == alone[: len(together)]
    assert len(together) >= 45 / (workers + 2)


@quick
@given(seeds, st.integers(2, 12), st.sampled_from([0.0, 0.3]), st.sampled_from([0.5, 0.1]))
def test_no_two_trials_evaluate_the_same_point(seed: int, workers: int, failing: float, tolerance: float) -> None:
    a_study = work(study(seed, tolerance=tolerance), 50, workers, seed, failing)
    kept = [trial for trial in a_study.trials if trial.state != TrialState.FAIL]
    assert len({tuple(trial.params.values()) for trial in kept}) == len(kept)
    assert len({key(a_study, trial.number) for trial in kept}) == len(kept)


def test_a_place_on_a_line_is_one_probe_whichever_brackets_lead_to_it() -> None:
    shares = {0.0}
    for bottom in np.linspace(0, 1, 100):
        a_study = study(tolerance=0.05, directions=1)
        while (found := key(a_study, a_study.ask(RANGES).number))[1] < 1:
            shares.add(found[3])
            a_study.tell(len(a_study.trials) - 1, abs(found[3] - bottom))
    assert len(shares) > 30 and np.diff(sorted(shares)).min() > 1e-3


def test_idle_workers_take_the_inner_points_of_the_next_directions() -> None:
    a_study = work(study(), 1)
    keys = [key(a_study, a_study.ask(RANGES).number) for _ in range(6)]
    inner = (1 - golden_section.GOLDEN, golden_section.GOLDEN)
    assert [each[1:] for each in keys] == [(0, direction, at) for direction in range(3) for at in inner]


def test_speculation_that_comes_true_is_used_again() -> None:
    a_study = study()
    trials = [a_study.ask(RANGES) for _ in range(7)]
    for trial in reversed(trials):
        a_study.tell(trial, 0.0 if trial.number == 0 else 1.0)
    assert [step.number for step in path(a_study)] == list(range(7))


def test_a_trial_that_failed_is_made_again_and_counts_as_the_worst_the_second_time() -> None:
    a_study = work(study(), 3)
    for _ in range(2):
        a_study.tell(a_study.ask(RANGES), state=TrialState.FAIL)
    assert points(a_study)[3] == points(a_study)[4] and len(path(a_study)) == 4
    assert path(a_study)[3].value == math.inf
    work(a_study, 10)
    assert len(path(a_study)) == 14 and len(set(points(a_study))) == 14


def test_a_trial_whose_worker_was_lost_does_not_count_against_its_probe() -> None:
    a_study = work(study(), 3)
    for _ in range(4):
        trial = a_study.ask(RANGES)
        forgive(a_study, a_study.trials[trial.number])
        a_study.tell(trial, state=TrialState.FAIL)
    a_study.tell(a_study.ask(RANGES), state=TrialState.FAIL)
    assert len({points(a_study)[number] for number in range(3, 8)}) == 1 and len(path(a_study)) == 3
    work(a_study, 1)
    assert path(a_study)[3].value == value(a_study.trials[3].params)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_pruned_and_undefined_are_the_worst(direction: str) -> None:
    worst = math.inf if direction == "minimize" else -math.inf
    sampler = GoldenSectionSampler(seed=0, ranges=RANGES)
    storage = optuna.storages.InMemoryStorage()
    a_study = optuna.create_study(storage=storage, sampler=sampler, direction=direction)
    first = a_study.ask(RANGES)
    a_study.tell(first, 1.0)
    pruned = a_study.ask(RANGES)
    pruned.report(-5.0 if direction == "minimize" else 5.0, 1)
    a_study.tell(pruned, state=TrialState.PRUNED)
    running = a_study.ask(RANGES)
    study_id = storage.get_study_id_from_name(a_study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, running.number)
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [math.nan])  # which `tell` would refuse
    assert [step.value for step in path(a_study)] == [1.0, worst, worst]
    assert path(a_study)[-1].incumbent == 0


def test_a_search_in_which_everything_fails_goes_on() -> None:
    a_study = study(remeasure=True)
    for _ in range(30):
        a_study.tell(a_study.ask(RANGES), state=TrialState.FAIL)
    assert len(path(a_study)) == 15


def test_the_best_of_what_was_enqueued_is_the_start() -> None:
    a_study = study()
    for at in (0.1, 0.6, 0.9):
        a_study.enqueue_trial(dict.fromkeys(RANGES, at))
    work(a_study, 20)
    assert [(s.number, s.line, s.incumbent) for s in path(a_study)[:3]] == [(0, -1, 0), (1, -1, 1), (2, -1, 1)]
    assert a_study.sampler.origin(a_study, a_study.trials[3]) == 1  # type: ignore[attr-defined]
    assert a_study.sampler.origin(a_study, a_study.trials[2]) is None  # type: ignore[attr-defined]


def test_the_first_line_leaves_from_a_start_that_still_runs() -> None:
    a_study = study()
    a_study.enqueue_trial(dict.fromkeys(RANGES, 0.3))
    start, probe = a_study.ask(RANGES), a_study.ask(RANGES)
    distance = np.linalg.norm(np.array(list(probe.params.values())) - 0.3)
    a_study.tell(probe, 2.0)
    a_study.tell(start, 1.0)
    assert path(a_study)[1].t == pytest.approx(distance) and path(a_study)[1].incumbent == start.number


def test_what_was_not_enqueued_comes_from_the_start_and_takes_no_probe() -> None:
    a_study = study(start={"b": 0.25})
    a_study.enqueue_trial({"a": 0.75})
    trial = a_study.ask(RANGES)
    assert trial.params == {**MIDDLE, "a": 0.75, "b": 0.25}
    assert not a_study.user_attrs


def test_what_is_enqueued_later_does_not_change_the_path() -> None:
    a_study = work(study(), 10)
    a_study.enqueue_trial({"a": 0.2, "b": 0.7, "c": 0.6, "d": 0.35})
    assert value(work(a_study, 10).trials[10].params) < path(a_study)[-1].incumbent_value
    assert essence(a_study) == essence(work(study(), 19))


def test_without_ranges_the_first_trial_is_the_start_and_the_space_is_found() -> None:
    a_study = optuna.create_study(sampler=GoldenSectionSampler(seed=0, start={"a": 0.25}))
    work(a_study, 20)
    assert a_study.trials[0].params == {**MIDDLE, "a": 0.25}
    assert essence(a_study) == essence(work(study(start={"a": 0.25}), 20))


def test_a_trial_that_asks_late_does_not_move_the_start() -> None:
    a_study = optuna.create_study(sampler=GoldenSectionSampler(seed=0))
    late = a_study.ask()
    work(a_study, 5)
    before = path(a_study)
    for name in RANGES:
        late.suggest_float(name, 0, 1)
    assert path(a_study) == before and before[0].number == 1


def test_of_two_that_ask_at_the_same_moment_one_takes_another_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    a_study = work(study(), 1)
    original, rivals = golden_section.next_probe, list[optuna.Trial]()

    def interrupted(*arguments: Any) -> golden_section.Probe:
        found = original(*arguments)
        if not rivals:  # between the look at the study and the claim another worker does both
            rivals.append(a_study.ask())
            rivals[0].suggest_float("a", 0, 1)
        return found

    monkeypatch.setattr(golden_section, "next_probe", interrupted)
    for trial in (a_study.ask(RANGES), *rivals):
        a_study.tell(trial, trial.suggest_float("a", 0, 1))
    shares = [key(a_study, trial.number)[-1] for trial in a_study.trials[1:]]
    assert sorted(shares) == [1 - golden_section.GOLDEN, golden_section.GOLDEN]


def test_of_two_that_see_each_other_the_lower_number_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    a_study = work(study(), 1)
    lower, higher = a_study.ask(), a_study.ask()
    monkeypatch.setattr(golden_section, "LOOKS", 2)
    claim = golden_section.Claim(("", 0, 0, 0.5), origin=None, since=0)
    a_study.set_user_attr(f"{CLAIM}:{lower.number}", claim._asdict())
    assert not golden_section._claimed(a_study, a_study.trials[higher.number], claim)
    a_study.set_user_attr(f"{CLAIM}:{higher.number}", claim._replace(key=("", 0, 0, 0.6), settled=True)._asdict())
    assert golden_section._claimed(a_study, a_study.trials[lower.number], claim)


def test_threads_share_a_search() -> None:
    a_study = study()
    a_study.optimize(lambda trial: value({name: trial.suggest_float(name, 0, 1) for name in RANGES}), 24, n_jobs=3)
    assert len(set(points(a_study))) == 24
    decided = essence(a_study)
    assert decided == essence(work(study(), 24))[: len(decided)]
