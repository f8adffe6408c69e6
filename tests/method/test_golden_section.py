"""The golden-section search: geometry of its lines, a path that only values decide, failures, starts."""

import math
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from brule.method.golden_section import FINEST, GOLDEN, SHORTEST, GoldenSectionSampler, Step

RANGES = {"a": FloatDistribution(-1, 3), "b": FloatDistribution(1e-3, 10, log=True), "c": FloatDistribution(0, 1)}
FAIL, PRUNED = TrialState.FAIL, TrialState.PRUNED
seeds = st.integers(0, 10**6)
quick = settings(deadline=None, max_examples=8)

Objective = Callable[[dict[str, Any]], float]


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def sampler(seed: int | None = 0, **arguments: Any) -> GoldenSectionSampler:
    return GoldenSectionSampler(**{"seed": seed, "ranges": RANGES, **arguments})


def study(search: GoldenSectionSampler, **arguments: Any) -> optuna.Study:
    return optuna.create_study(sampler=search, **arguments)


def cube(params: dict[str, Any], ranges: dict[str, FloatDistribution] = RANGES) -> np.ndarray:
    """The unit cube, written down a second time."""
    to = {name: math.log if d.log else float for name, d in ranges.items()}
    sides = [(to[n](params[n]), to[n](d.low), to[n](d.high)) for n, d in ranges.items()]
    return np.array([(value - low) / (high - low) for value, low, high in sides])


def bowl(seed: int) -> Objective:
    bottom = np.random.default_rng(seed).uniform(size=3)
    return lambda params: float(((cube(params) - bottom) ** 2 * [1, 4, 2]).sum())


def run(a_study: optuna.Study, objective: Objective, trials: int) -> optuna.Study:
    """One worker."""
    for _ in range(trials):
        trial = a_study.ask(RANGES)
        a_study.tell(trial, objective(trial.params))
    return a_study


def path(a_study: optuna.Study) -> list[Step]:
    return a_study.sampler.path(a_study)  # type: ignore[attr-defined]


def lines(a_study: optuna.Study) -> list[list[Step]]:
    """The start, and the lines after it."""
    return [list(steps) for _, steps in groupby(path(a_study), lambda step: step.line)]


def rays(a_study: optuna.Study) -> Iterator[tuple[np.ndarray, list[Step]]]:
    """The incumbent's point and the steps along each direction that was looked at."""
    for before, line in pairwise(lines(a_study)):
        origin = cube(a_study.trials[before[-1].incumbent].params)
        for direction in sorted({step.direction for step in line}):
            yield origin, [step for step in line if step.direction == direction and step.t]


@quick
@given(seeds)
def test_each_step_leaves_the_golden_share_of_the_bracket_until_it_is_short(seed: int) -> None:
    tolerance, followed = 0.03, 0
    for _, steps in rays(run(study(sampler(seed, tolerance=tolerance)), bowl(seed), 60)):
        length = steps[0].t / (1 - GOLDEN)
        shares = []
        for count in range(2, len(steps) + 1):
            ends = sorted([0.0, length, *(s.t for s in steps[:count])])
            best = ends.index(min(steps[:count], key=lambda s: s.value).t)
            shares.append((ends[best + 1] - ends[best - 1]) / length)
        assert shares == pytest.approx([GOLDEN**power for power in range(1, len(steps))])
        assert all(share >= tolerance for share in shares[:-1])
        followed += bool(shares) and shares[-1] < tolerance
    assert followed


@quick
@given(seeds, st.sampled_from([0.0, 0.5, 1.0]))
def test_lines_are_straight_inside_the_box_and_of_some_length_even_in_a_corner(seed: int, corner: float) -> None:
    low_or_high = {name: d.high if corner == 1 else d.low for name, d in RANGES.items()}
    arguments = {"start": low_or_high} if corner != 0.5 else {}
    a_study = run(study(sampler(seed, adapt=False, step=0.4, **arguments)), lambda params: 1.0, 30)
    assert len(list(rays(a_study))) >= 10
    for origin, steps in rays(a_study):
        points = np.array([cube(a_study.trials[s.number].params) for s in steps])
        assert (points > -1e-12).all() and (points < 1 + 1e-12).all()
        u = (points - origin) / np.array([[s.t] for s in steps])
        assert np.allclose(u, u[0]) and np.linalg.norm(u[0]) == pytest.approx(1)
        length = steps[0].t / (1 - GOLDEN)
        end = origin + length * u[0]
        assert length * (1 + 1e-9) >= 0.4 * SHORTEST
        assert length == pytest.approx(0.4) or np.isclose(end, 0).any() or np.isclose(end, 1).any()


def test_directions_are_tried_until_one_improves_and_else_the_best_is_followed() -> None:
    a_study = run(study(sampler(3, directions=4, tolerance=0.2)), bowl(3), 80)
    for before, line in pairwise(lines(a_study)[:-1]):
        pairs = [pair for j in range(4) if (pair := [s for s in line if s.direction == j][:2])]
        better = [min(s.value for s in pair) < before[-1].incumbent_value for pair in pairs]
        assert not any(better[:-1]) and (better[-1] or len(pairs) == 4)
        best = min(pairs, key=lambda pair: min(s.value for s in pair))[0].direction
        assert {s.direction for s in line[2 * len(pairs) :]} == {best}


def test_in_one_dimension_no_direction_is_tried_twice() -> None:
    a_study = study(GoldenSectionSampler(seed=0, ranges={"c": RANGES["c"]}))
    a_study.optimize(lambda trial: (trial.suggest_float("c", 0, 1) - 0.5) ** 2, 30)
    for line in lines(a_study):
        assert len({a_study.trials[step.number].params["c"] for step in line}) == len(line)


@quick
@given(seeds)
def test_the_step_follows_the_way_that_a_line_has_led_and_is_halved_otherwise(seed: int) -> None:
    a_study = run(study(sampler(seed, step=0.4)), bowl(seed), 50)
    points = [cube(a_study.trials[line[-1].incumbent].params) for line in lines(a_study)]
    steps = [0.4]
    for old, new in pairwise(points):
        moved = float(np.linalg.norm(new - old))
        steps.append(min(0.4, max(0.4 * FINEST, moved / (1 - GOLDEN) if moved else steps[-1] / 2)))
    for origin, ray in rays(a_study):
        along = cube(a_study.trials[ray[0].number].params) - origin
        end, length = origin + along / (1 - GOLDEN), ray[0].t / (1 - GOLDEN)
        cut = (end < 1e-9).any() or (end > 1 - 1e-9).any()
        assert length <= steps[ray[0].line] * (1 + 1e-9) if cut else length == pytest.approx(steps[ray[0].line])


@quick
@given(seeds, st.integers(0, 40), st.booleans())
def test_a_search_cut_off_anywhere_and_resumed_is_the_same_search(seed: int, kept: int, remeasure: bool) -> None:
    whole = run(study(sampler(seed, remeasure=remeasure)), bowl(seed), 40)
    resumed = study(sampler(seed, remeasure=remeasure))
    resumed.add_trials(whole.trials[:kept])
    for name, claim in whole.user_attrs.items():  # of the trials that are left out as well: nobody reads those
        resumed.set_user_attr(name, claim)
    run(resumed, bowl(seed), 40 - kept)
    assert [t.params for t in resumed.trials] == [t.params for t in whole.trials]
    assert path(resumed) == path(whole)


def test_maximising_is_minimising_the_negative() -> None:
    down = run(study(sampler()), bowl(1), 40)
    up = run(study(sampler(), direction="maximize"), lambda params: -bowl(1)(params), 40)
    assert [t.params for t in up.trials] == [t.params for t in down.trials]
    assert [(s.value, s.incumbent_value) for s in path(up)] == [(-s.value, -s.incumbent_value) for s in path(down)]


def test_without_a_seed_the_name_of_the_study_decides() -> None:
    runs = [run(study(sampler(None), study_name=name), bowl(0), 12) for name in ("one", "one", "two")]
    params = [[trial.params for trial in each.trials] for each in runs]
    assert params[0] == params[1] != params[2]


def test_reseeding_leaves_the_path_alone() -> None:
    a_study = run(study(sampler()), bowl(0), 5)
    a_study.sampler.reseed_rng()
    assert path(run(a_study, bowl(0), 15)) == path(run(study(sampler()), bowl(0), 20))


def test_the_incumbent_is_the_best_so_far_and_the_origin_that_at_the_start_of_the_line() -> None:
    a_study = run(study(sampler()), bowl(2), 50)
    search = a_study.sampler
    assert isinstance(search, GoldenSectionSampler)
    steps = path(a_study)
    for at, step in enumerate(steps):
        best = min(steps[: at + 1], key=lambda s: s.value)
        assert (step.incumbent, step.incumbent_value) == (best.number, best.value)
        before = [s.incumbent for s in steps if s.line < step.line]
        assert search.origin(a_study, a_study.trials[step.number]) == (before[-1] if before else None)


def test_a_remeasured_incumbent_sets_the_bar_of_its_line() -> None:
    drift = iter(range(1000))
    a_study = run(
        study(sampler(remeasure=True, tolerance=0.2)), lambda params: bowl(4)(params) + 0.01 * next(drift), 60
    )
    for before, line in pairwise(lines(a_study)):
        again = line[0]
        assert again.t == 0 and again.incumbent == again.number
        assert a_study.trials[again.number].params == a_study.trials[before[-1].incumbent].params
        assert line[-1].incumbent == min(line, key=lambda step: step.value).number


def test_a_line_that_nothing_finite_came_of_leaves_the_incumbent() -> None:
    values = iter([1.0])
    a_study = run(study(sampler(remeasure=True)), lambda params: next(values, math.inf), 30)
    assert {s.incumbent for s in path(a_study) if s.line == -1} == {0} and path(a_study)[-1].line > 0
    assert {a_study.sampler.origin(a_study, t) for t in a_study.trials} == {None, 0}  # type: ignore[attr-defined]


def test_what_is_not_a_range_of_numbers_is_left_to_the_other_sampler() -> None:
    ranges: dict[str, BaseDistribution] = {
        **RANGES,
        "kind": CategoricalDistribution(["x", "y"]),
        "one": FloatDistribution(2, 2),
    }
    a_study = study(GoldenSectionSampler(seed=0, ranges=ranges))
    for _ in range(20):
        trial = a_study.ask(ranges)
        a_study.tell(trial, bowl(0)(trial.params))
    assert {trial.params["kind"] for trial in a_study.trials} == {"x", "y"}
    assert [s.t for s in path(a_study)] == [s.t for s in path(run(study(sampler()), bowl(0), 20))]


def test_whole_numbers_stay_whole_and_inside() -> None:
    ranges = {"n": IntDistribution(1, 100, log=True), "m": IntDistribution(-4, 8, step=3)}
    a_study = study(GoldenSectionSampler(seed=0, ranges=ranges))
    for _ in range(40):
        trial = a_study.ask(ranges)
        a_study.tell(trial, abs(trial.params["n"] - 9) + abs(trial.params["m"] - 5))
    assert all(t.params["n"] in range(1, 101) and t.params["m"] in (-4, -1, 2, 5, 8) for t in a_study.trials)
    assert a_study.best_value <= 1


@pytest.mark.parametrize(
    "wrong", [{"step": 0.0}, {"step": 1.5}, {"tolerance": 0.0}, {"tolerance": 1.0}, {"directions": 0}], ids=str
)
def test_arguments_that_make_no_search_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sampler(**wrong)


def test_a_start_outside_its_range_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="b=20"):
        run(study(sampler(start={"b": 20.0})), bowl(0), 1)
