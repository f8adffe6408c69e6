"""BRULÉ's tuner (section 2, "Hyperparameters tuning") for Optuna: golden-section search along random directions.

`Search` asks for one evaluation after the other and never sees a study. Nothing is kept between two trials: `replay`
runs it over the finished ones, `next_probe` looks ahead for idle workers, the sampler reads and writes the study.
"""

import hashlib
import heapq
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from optuna._transform import _SearchSpaceTransform as Cube
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

GOLDEN = (math.sqrt(5) - 1) / 2
SHORTEST, FINEST = 0.1, 1 / 64  # the least length of a segment, in steps; the least step, in first steps
CLAIM, LOOKS = "golden_section:claim", 200  # at a rival that has not made up its mind, 10 ms apart

Params = dict[str, Any]
Ranges = Mapping[str, BaseDistribution]
Point = npt.NDArray[np.float64]
Key = tuple[str, int, int, float]
"""Of a probe: the mark of the key of its line's first incumbent, line, direction, share of the segment."""


class Outcome(NamedTuple):
    """Of a probe: its trial, what is minimised (inf: the worst; nan: it runs), its parameters if known, else {}."""

    key: Key
    number: int
    loss: float
    params: Params


class Probe(NamedTuple):
    """An evaluation to make, its line's first incumbent, the best outcome so far, roughly the chance to beat that."""

    key: Key
    origin: int | None
    t: float
    params: Callable[[], Params]
    best: Outcome | None
    chance: float = 0.5


Asking = Generator[Probe, Outcome, Outcome]


@dataclass(frozen=True)
class Step:
    """A decided evaluation: `line` −1 is the start, `t` a length in the unit cube, the incumbent the best so far."""

    number: int
    line: int
    direction: int
    t: float
    value: float
    incumbent: int
    incumbent_value: float


class Segment(NamedTuple):
    """x + t u with t in [0, length], within the unit cube."""

    cube: Cube
    incumbent: Outcome
    line: int
    direction: int
    x: Point
    u: Point
    length: float

    def probe(self, at: float, best: Outcome, chance: float = 0.5) -> Probe:
        t = at * self.length
        point = np.clip(self.x + t * self.u, 0, 1)  # against rounding alone
        key = (_mark(self.incumbent.key), self.line, self.direction, at)
        return Probe(key, self.incumbent.number, t, lambda: self.cube.untransform(point), best, chance)


@dataclass(frozen=True)
class Search:
    """What it asks for depends on these (see the sampler) and on the answers alone."""

    cube: Cube  # parameters ↔ points of the unit cube
    starts: Mapping[Key, Params]
    seed: Sequence[int]
    step: float
    tolerance: float
    directions: int
    remeasure: bool
    adapt: bool

    def probes(self) -> Asking:
        """The starts, then line after line, for ever. Every probe is answered by its outcome."""
        best: Outcome | None = None
        for key, params in self.starts.items():
            outcome = yield Probe(key, None, 0.0, params.copy, best)
            best = _better(best or outcome, outcome)
        assert best is not None
        x, step = self._point(best), self.step
        for line in itertools.count():
            best = yield from self._line(line, x, step, best)
            old, x = x, self._point(best)
            if self.adapt:  # the next first inner point lies as far away as this line has led
                step = float(np.linalg.norm(x - old)) / (1 - GOLDEN) or step / 2
                step = min(max(step, FINEST * self.step), self.step)
        raise AssertionError("there is always another line")

    def _point(self, outcome: Outcome) -> Point:
        return np.asarray(np.clip(self.cube.transform(outcome.params), 0, 1))

    def _line(self, line: int, x: Point, step: float, incumbent: Outcome) -> Asking:
        """One line from the incumbent at x; returns the next incumbent."""
        best, tried = incumbent, []
        if self.remeasure:
            key = (_mark(incumbent.key), line, 0, 0.0)
            again = yield Probe(key, incumbent.number, 0.0, incumbent.params.copy, best)
            best = again if again.loss < math.inf else incumbent._replace(loss=math.inf)
        bar = best.loss
        for direction, u, length in self._rays(line, x, step):
            segment = Segment(self.cube, incumbent, line, direction, x, u, length)
            low = yield segment.probe(1 - GOLDEN, best, chance=0.25)
            best = _better(best, low)
            high = yield segment.probe(GOLDEN, best, chance=0.25)
            best = _better(best, high)
            tried.append((segment, low.loss, high.loss))
            if best.loss < bar:
                break
        best = yield from self._narrow(*min(tried, key=lambda each: min(each[1:])), best)
        return best if best.loss < math.inf else incumbent

    def _rays(self, line: int, x: Point, step: float) -> Iterator[tuple[int, Point, float]]:
        """u_{r,j}, uniform on the sphere, and the way along it: `step`, or to the face of the cube that it meets.

        Every second u is the opposite of the one before it: where a function is smooth, one of the two descends. What
        would leave through a face at once is turned inwards, so that no segment is shorter than SHORTEST.
        """
        seen: set[bytes] = set()
        for direction in range(self.directions):
            u = np.random.default_rng([*self.seed, line, direction // 2]).standard_normal(len(x))
            u *= (-1) ** direction
            u /= np.linalg.norm(u)
            u = np.where(_room(x, u) < SHORTEST * step, -u, u)
            if u.tobytes() not in seen:  # in one dimension there are only two, in a corner one
                yield direction, u, min(step, float(_room(x, u).min()))
            seen.add(u.tobytes())

    def _narrow(self, segment: Segment, low: float, high: float, best: Outcome) -> Asking:
        """Golden-section search after its two inner points; returns the best outcome."""
        a, b, inner = 0.0, 1.0, [(1 - GOLDEN, low), (GOLDEN, high)]
        while True:
            (c, low), (d, high) = inner
            if low <= high:
                b, new, kept = d, a + (1 - GOLDEN) * (d - a), inner[0]
            else:
                a, new, kept = c, b - (1 - GOLDEN) * (b - c), inner[1]
            if b - a < self.tolerance:
                return best
            # Other brackets may lead to the same point, but for rounding errors: it is one probe.
            outcome = yield segment.probe(round(new, 12), best)
            best = _better(best, outcome)
            inner = sorted([kept, (new, outcome.loss)])


def _room(x: Point, u: Point) -> Point:
    """How far x can go along u until it meets a face, dimension by dimension."""
    return np.where(u > 0, 1 - x, x) / np.abs(u)


def _mark(key: Key) -> str:
    """Short for a key and, through its own first part, for all that led to it: whichever trials may have made them."""
    return hashlib.sha256(repr(key).encode()).hexdigest()[:16]


def _better(best: Outcome, outcome: Outcome) -> Outcome:
    return outcome if outcome.loss < best.loss else best


def replay(search: Search, ledger: Mapping[Key, Outcome], sign: int = 1) -> tuple[list[Step], Probe]:
    """The decided path, and the probe it waits for. A pure function; `sign` −1 tells values that are maximised."""
    run, path = search.probes(), list[Step]()
    probe = next(run)
    while (outcome := ledger.get(probe.key)) and not math.isnan(outcome.loss):
        after = run.send(outcome._replace(params=outcome.params or probe.params()))
        best, place = after.best or outcome, (*probe.key[1:3], probe.t)
        path.append(Step(outcome.number, *place, sign * outcome.loss, best.number, sign * best.loss))
        probe = after
    return path, probe


def next_probe(search: Search, ledger: Mapping[Key, Outcome]) -> Probe:
    """The likeliest probe to be needed that no trial has yet: running ones may turn out the worst or the best."""
    order, futures = itertools.count(1), [(0.0, 0, dict(ledger))]
    while True:
        unlikely, _, future = heapq.heappop(futures)
        probe = replay(search, future)[1]
        if probe.key not in future:
            return probe
        for loss, chance in ((math.inf, 1 - probe.chance), (-math.inf, probe.chance)):
            guess = future | {probe.key: future[probe.key]._replace(loss=loss)}
            heapq.heappush(futures, (unlikely - math.log(chance), next(order), guess))


class GoldenSectionSampler(BaseSampler):
    """From the incumbent a segment in a random direction, golden-section search on it, from the best point the next.

    Lengths are those in the unit cube of the float and int parameters, logarithmic ones by their logarithm. The start
    is the best trial made before the first one of the search, else `start`, and the middle where that is silent. A
    probe that failed is tried once more, then counts as the worst, as a pruned one does; a failed trial with the user
    attribute `lost` lost its worker, which is not held against its probe.

    seed: of the directions; None takes the study's name, on which its workers agree.
    ranges: what is searched, so that even the first trial belongs to the search; else Optuna's intersection of spaces.
    step, tolerance: the longest segment; the share of its segment below which a bracket is short enough.
    directions: so many are tried until an inner point beats the incumbent; if none does, the best of them is followed.
    remeasure: a line begins with its incumbent's parameters, whose fresh value is the one to beat.
    adapt: the step follows how far the last line led, and is halved where it led nowhere; False: it stays.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        ranges: Ranges | None = None,
        start: Mapping[str, float] | None = None,
        step: float = 0.5,
        tolerance: float = 0.5,
        directions: int = 5,
        remeasure: bool = False,
        adapt: bool = True,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        """Raises ValueError for a step outside (0, 1], a tolerance outside (0, 1) and fewer than one direction."""
        if not (0 < step <= 1 and 0 < tolerance < 1 and directions >= 1):
            raise ValueError("golden-section search needs 0 < step ≤ 1, 0 < tolerance < 1 and directions ≥ 1")
        self._seed, self._ranges, self._start = seed, ranges, start or {}
        self._rules = (step, tolerance, directions, remeasure, adapt)
        self._independent = independent_sampler or RandomSampler(seed)

    def path(self, study: Study) -> list[Step]:
        """The decided evaluations, in order, whoever made them and whatever else was evaluated."""
        self._raise_error_if_multi_objective(study)
        trials = study.get_trials(deepcopy=False)
        ranges = self._searched(trials)
        return replay(*self._read(study, trials, ranges), _sign(study))[0] if ranges else []

    def origin(self, study: Study, trial: FrozenTrial) -> int | None:
        """The trial that was the incumbent when the line of `trial` began; None for the start and off the lines.

        For a trial ahead of the decided path, the one that was supposed to be.
        """
        claim = study._storage.get_trial(trial._trial_id).system_attrs.get(CLAIM, {"origin": None})
        path = self.path(study)
        lines = {step.number: step.line for step in path}
        before = [step.incumbent for step in path if step.line < lines.get(trial.number, -1)]
        return before[-1] if before else claim["origin"]

    def line(self, trial: FrozenTrial) -> int | None:
        """The number of the line that a trial is a probe of; −1 for the start, None for trials that others made."""
        key = _key(trial)
        return key and key[1]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._searched(study.get_trials(deepcopy=False))

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        self._raise_error_if_multi_objective(study)
        if not search_space or "fixed_params" in trial.system_attrs:
            return self._first(search_space)  # what was not enqueued
        while True:
            others = _others(study, trial)
            probe = next_probe(*self._read(study, others, search_space))
            claim = {"key": probe.key, "origin": probe.origin, "since": _since(others, trial.number)}
            if _claimed(study, trial, claim):
                return probe.params()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        if self._ranges is None and _numeric(param_distribution) and all(t.state == TrialState.FAIL for t in earlier):
            return self._first({param_name: param_distribution})[param_name]
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._independent.reseed_rng()  # the search has nothing to reseed

    def _searched(self, trials: list[FrozenTrial]) -> dict[str, BaseDistribution]:
        ranges = intersection_search_space(trials) if self._ranges is None else self._ranges
        return {name: ranges[name] for name in sorted(ranges) if _numeric(ranges[name])}

    def _first(self, ranges: Ranges) -> Params:
        """The parameters of the start. Raises ValueError where `start` lies outside its range."""
        params = Cube(dict(ranges), transform_0_1=True).untransform(np.full(len(ranges), 0.5)) if ranges else {}
        for name in params.keys() & self._start.keys():
            inner = ranges[name].to_internal_repr(self._start[name])
            if not ranges[name]._contains(inner):
                raise ValueError(
                    f"start: {name}={self._start[name]} lies outside {ranges[name]}; change one of the two"
                )
            params[name] = ranges[name].to_external_repr(inner)
        return params

    def _read(self, study: Study, trials: Sequence[FrozenTrial], ranges: Ranges) -> tuple[Search, dict[Key, Outcome]]:
        """What the trials say: the search from its starts, and its probes so far."""
        first, since = self._first(ranges), _since(trials, math.inf)
        starts, ledger, failed = dict[Key, Params](), dict[Key, Outcome](), set[Key]()
        for trial in trials:
            key, whole = _key(trial), ranges.keys() <= trial.params.keys()
            params = first | trial.system_attrs.get("fixed_params", {}) | trial.params
            params = {name: params[name] for name in ranges}
            early = trial.number < since and trial.state != TrialState.FAIL
            if key is None and early and (whole or _enqueued(trial)):
                key = (str(trial.number), -1, 0, 0.0)
                starts[key] = params
            lost = trial.user_attrs.get("lost", False)
            if key and trial.state == TrialState.FAIL and (lost or key not in failed):
                failed |= set() if lost else {key}  # a first failure frees the probe
            elif key:
                ledger.setdefault(key, Outcome(key, trial.number, _loss(study, trial), params if whole else {}))
        seed = list(study.study_name.encode()) if self._seed is None else [self._seed]
        search = Search(Cube(dict(ranges), transform_0_1=True), starts or {("", -1, 0, 0.0): first}, seed, *self._rules)
        return search, ledger


def _numeric(distribution: BaseDistribution) -> bool:
    return not (distribution.single() or isinstance(distribution, CategoricalDistribution))


def _enqueued(trial: FrozenTrial) -> bool:
    return "fixed_params" in trial.system_attrs and not trial.state.is_finished()


def _sign(study: Study) -> int:
    return -1 if study.direction == StudyDirection.MAXIMIZE else 1


def _loss(study: Study, trial: FrozenTrial) -> float:
    if not trial.state.is_finished():
        return math.nan
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return math.inf if value is None or math.isnan(value) else _sign(study) * value


def _key(trial: FrozenTrial) -> Key | None:
    claim = trial.system_attrs.get(CLAIM)
    return tuple(claim["key"]) if claim else None


def _since(trials: Sequence[FrozenTrial], default: float) -> float:
    """Trials of others count as starts up to this number, which the first worker to claim a probe has set."""
    return min((t.system_attrs[CLAIM]["since"] for t in trials if CLAIM in t.system_attrs), default=default)


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    return [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]


def _claimed(study: Study, trial: FrozenTrial, claim: dict[str, Any]) -> bool:
    """Take a probe, unless a rival has it.

    Who sees no rival settles. Of two that see each other the higher lets go, and the lower waits to see whether it had
    settled before: looking once would not tell it.
    """
    study._storage.set_trial_system_attr(trial._trial_id, CLAIM, {**claim, "settled": False})
    for _ in range(LOOKS):
        rivals = [t for t in _others(study, trial) if _key(t) == claim["key"] and t.state != TrialState.FAIL]
        if not rivals:
            study._storage.set_trial_system_attr(trial._trial_id, CLAIM, {**claim, "settled": True})
            return True
        if any(t.number < trial.number or t.system_attrs[CLAIM]["settled"] for t in rivals):
            return False
        time.sleep(0.01)
    return False
