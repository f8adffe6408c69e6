"""BRULÉ's tuner (section 2, "Hyperparameters tuning") for Optuna: golden-section search along random directions.

`Search` asks for one evaluation after another and never sees a study. Nothing is remembered between two trials:
`replay` runs the search over the finished ones, `next_probe` looks ahead for idle workers, and the sampler reads the
study. Which trial evaluates what is written in the study's user attributes.
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
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

GOLDEN = (math.sqrt(5) - 1) / 2
SHORTEST, FINEST = 0.1, 1 / 64  # the shortest segment, in steps; the finest step, in first steps
CLAIM, LOST = "golden_section:claim", "golden_section:lost"  # names of study attributes, before `:` and a trial number
LOOKS = 200  # how often to look at an undecided rival, every 10 ms

Params = dict[str, Any]
Ranges = Mapping[str, BaseDistribution]
Number = FloatDistribution | IntDistribution
Point = npt.NDArray[np.float64]
Key = tuple[str, int, int, float]
"""Identifies a probe: a digest of the key of its line's first incumbent, line, direction, share of the segment."""


class Cube:
    """Parameters ↔ points of the unit cube: each range, or its logarithm, is stretched linearly over [0, 1].

    A range of steps reaches half a step beyond its ends, so that all its values have equal shares.
    """

    def __init__(self, ranges: Mapping[str, Number]) -> None:
        self._ranges = ranges
        self._low = np.array([_scaled(d, d.low - (d.step or 0) / 2) for d in ranges.values()])
        self._width = np.array([_scaled(d, d.high + (d.step or 0) / 2) for d in ranges.values()]) - self._low

    def point(self, params: Params) -> Point:
        inner = np.array([_scaled(d, params[name]) for name, d in self._ranges.items()])
        return np.asarray(np.clip((inner - self._low) / self._width, 0, 1))

    def params(self, point: Point) -> Params:
        inner = (self._low + point * self._width).tolist()
        return {name: _legal(d, x) for (name, d), x in zip(self._ranges.items(), inner, strict=True)}


def _scaled(distribution: Number, value: float) -> float:
    return math.log(value) if distribution.log else float(value)


def _legal(d: Number, scaled: float) -> float:
    """The value of this range that is nearest to a point on its scale. As in Optuna, `high` itself is left out."""
    value = math.exp(scaled) if d.log else scaled
    if isinstance(d, IntDistribution):
        return min(max(d.low + d.step * math.floor((value - d.low) / d.step + 0.5), d.low), d.high)
    if d.step is not None:
        return min(max(d.low + d.step * round((value - d.low) / d.step), d.low), d.high)
    return min(max(value, d.low), math.nextafter(d.high, d.low))


class Outcome(NamedTuple):
    """What came of a probe: its trial, the loss (inf: the worst; nan: still running), the parameters or {}."""

    key: Key
    number: int
    loss: float
    params: Params


class Probe(NamedTuple):
    """An evaluation to make, its line's first incumbent, the best outcome so far, a rough chance of beating that."""

    key: Key
    origin: int | None
    t: float
    params: Callable[[], Params]
    best: Outcome | None
    chance: float = 0.5


Asking = Generator[Probe, Outcome, Outcome]


@dataclass(frozen=True)
class Step:
    """A decided evaluation. `line` −1 is the start, `t` a length in the unit cube, `incumbent` the best so far."""

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
        return Probe(key, self.incumbent.number, t, lambda: self.cube.params(point), best, chance)


@dataclass(frozen=True)
class Search:
    """What the search asks for depends on these settings (see the sampler) and on the answers alone."""

    cube: Cube
    starts: Mapping[Key, Params]
    seed: Sequence[int]
    step: float
    tolerance: float
    directions: int
    remeasure: bool
    adapt: bool

    def probes(self) -> Asking:
        """Ask for the starts, then for line after line without end. Send each probe's outcome as the answer."""
        best: Outcome | None = None
        for key, params in self.starts.items():
            outcome = yield Probe(key, None, 0.0, params.copy, best)
            best = _better(best or outcome, outcome)
        assert best is not None
        x, step = self.cube.point(best.params), self.step
        for line in itertools.count():
            best = yield from self._line(line, x, step, best)
            old, x = x, self.cube.point(best.params)
            if self.adapt:  # the next first inner point lies as far away as this line has led
                step = float(np.linalg.norm(x - old)) / (1 - GOLDEN) or step / 2
                step = min(max(step, FINEST * self.step), self.step)
        raise AssertionError("there is always another line")

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
        """Directions u_{r,j}, uniform on the sphere, and how far to go: `step`, or up to a face of the cube.

        Every second u is the opposite of the one before it: where a function is smooth, one of the two descends.
        Components that would leave through a face at once are turned inwards, so no segment is shorter than SHORTEST.
        """
        seen: set[bytes] = set()
        for direction in range(self.directions):
            u = np.random.default_rng([*self.seed, line, direction // 2]).standard_normal(len(x))
            u *= (-1) ** direction
            u /= np.linalg.norm(u)
            u = np.where(_room(x, u) < SHORTEST * step, -u, u)
            if u.tobytes() not in seen:  # one dimension has only two, a corner only one
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
    """How far x can go along u before it meets a face, dimension by dimension."""
    return np.where(u > 0, 1 - x, x) / np.abs(u)


def _mark(key: Key) -> str:
    """A digest of a key and, through the digest in its own first part, of all that led to it, whatever the trials."""
    return hashlib.sha256(repr(key).encode()).hexdigest()[:16]


def _better(best: Outcome, outcome: Outcome) -> Outcome:
    return outcome if outcome.loss < best.loss else best


def replay(search: Search, ledger: Mapping[Key, Outcome], sign: int = 1) -> tuple[list[Step], Probe]:
    """The decided path, and the probe that it waits for. `sign` is −1 where values are maximised."""
    run, path = search.probes(), list[Step]()
    probe = next(run)
    while (outcome := ledger.get(probe.key)) and not math.isnan(outcome.loss):
        after = run.send(outcome._replace(params=outcome.params or probe.params()))
        best, place = after.best or outcome, (*probe.key[1:3], probe.t)
        path.append(Step(outcome.number, *place, sign * outcome.loss, best.number, sign * best.loss))
        probe = after
    return path, probe


def next_probe(search: Search, ledger: Mapping[Key, Outcome]) -> Probe:
    """The probe most likely to be needed that no trial has yet: running ones may turn out the worst or the best."""
    order, futures = itertools.count(1), [(0.0, 0, dict(ledger))]
    while True:
        unlikely, _, future = heapq.heappop(futures)
        probe = replay(search, future)[1]
        if probe.key not in future:
            return probe
        for loss, chance in ((math.inf, 1 - probe.chance), (-math.inf, probe.chance)):
            guess = future | {probe.key: future[probe.key]._replace(loss=loss)}
            heapq.heappush(futures, (unlikely - math.log(chance), next(order), guess))


class Claim(NamedTuple):
    """What a trial evaluates, and from which incumbent.

    since: trials that others made count as starts up to this number, which the first worker to claim a probe sets.
    settled: whether the worker has made up its mind; see `_claimed`.
    """

    key: Key
    origin: int | None
    since: int
    settled: bool = False


class View(NamedTuple):
    """A study at one moment: its trials, and by their numbers what they claim and which of them lost their workers."""

    trials: list[FrozenTrial]
    claims: dict[int, Claim]
    lost: set[int]

    def since(self, default: float) -> float:
        return min((claim.since for claim in self.claims.values()), default=default)


class GoldenSectionSampler(BaseSampler):
    """From the incumbent, golden-section search on a segment in a random direction; from the best point, the next one.

    Lengths are those in the unit cube of the float and int parameters, taken by their logarithm where their range is
    logarithmic. The search starts from the best trial made before its first one, else from `start`, else from the
    middle of each range. A failed probe is tried once more, then counts as the worst, as a pruned one does at once. A
    trial that failed because its worker was lost is not held against its probe: see `forgive`.

    seed: of the directions; None takes the study's name, on which its workers agree.
    ranges: what is searched, so that even the first trial belongs to the search; else Optuna's intersection of spaces.
    step, tolerance: the longest segment; a bracket shorter than this share of its segment ends the line.
    directions: how many are tried for an inner point that beats the incumbent; if none does, the best is followed.
    remeasure: each line begins by evaluating its incumbent again; the fresh value is the one to beat.
    adapt: the step follows how far the last line led, and is halved where it led nowhere; False keeps the step.
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
        _check(study)
        view = _look(study)
        ranges = self._searched(view.trials)
        return replay(*self._read(study, view, ranges), _sign(study))[0] if ranges else []

    def awaited(self, study: Study) -> FrozenTrial | None:
        """The trial that holds up the decided path: one that still runs, or whose worker was lost, so that its probe
        is to be tried again. None where the path waits for a probe that nobody has begun."""
        _check(study)
        view = _look(study)
        ranges = self._searched(view.trials)
        if not ranges:
            return None
        key = replay(*self._read(study, view, ranges))[1].key
        found = [t for t in view.trials if t.number in view.claims and view.claims[t.number].key == key]
        return found[-1] if found else None

    def origin(self, study: Study, trial: FrozenTrial) -> int | None:
        """The trial that was the incumbent when the line of `trial` began; None for the start and off the lines.

        For a trial ahead of the decided path, the one that was expected to be.
        """
        claim, path = _look(study).claims.get(trial.number), self.path(study)
        lines = {step.number: step.line for step in path}
        before = [step.incumbent for step in path if step.line < lines.get(trial.number, -1)]
        return before[-1] if before else claim and claim.origin

    def line(self, study: Study, trial: FrozenTrial) -> int | None:
        """The number of the line that a trial is a probe of; −1 for the start, None for trials that others made."""
        claim = _look(study).claims.get(trial.number)
        return claim and claim.key[1]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {**self._searched(study.get_trials(deepcopy=False))}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        _check(study)
        ranges = _numeric(search_space)
        if not ranges or "fixed_params" in trial.system_attrs:
            return self._first(ranges)  # for parameters that were not enqueued
        while True:
            view = _look(study, trial.number)
            probe = next_probe(*self._read(study, view, ranges))
            if _claimed(study, trial, Claim(probe.key, probe.origin, int(view.since(trial.number)))):
                return probe.params()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        _check(study)
        space, earlier = _numeric({param_name: param_distribution}), study.get_trials(deepcopy=False)[: trial.number]
        if self._ranges is None and space and all(t.state == TrialState.FAIL for t in earlier):
            return self._first(space)[param_name]
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._independent.reseed_rng()  # the search itself draws nothing that another worker could draw as well

    def _searched(self, trials: list[FrozenTrial]) -> dict[str, Number]:
        ranges = _numeric(intersection_search_space(trials) if self._ranges is None else self._ranges)
        return {name: ranges[name] for name in sorted(ranges)}

    def _first(self, ranges: Mapping[str, Number]) -> Params:
        """The parameters of the start. Raises ValueError where `start` lies outside its range."""
        params = Cube(ranges).params(np.full(len(ranges), 0.5))
        for name in params.keys() & self._start.keys():
            distribution: BaseDistribution = ranges[name]
            inner = distribution.to_internal_repr(self._start[name])
            if not _inside(ranges[name], inner):
                raise ValueError(
                    f"start: {name}={self._start[name]} lies outside {ranges[name]}; change one of the two"
                )
            params[name] = distribution.to_external_repr(inner)
        return params

    def _read(self, study: Study, view: View, ranges: Mapping[str, Number]) -> tuple[Search, dict[Key, Outcome]]:
        """The search from the starts that these trials give it, and what its probes came to so far."""
        first, since = self._first(ranges), view.since(math.inf)
        starts, ledger, failed = dict[Key, Params](), dict[Key, Outcome](), set[Key]()
        for trial in view.trials:
            claim, lost = view.claims.get(trial.number), trial.number in view.lost
            key, whole = claim and claim.key, ranges.keys() <= trial.params.keys()
            params = first | trial.system_attrs.get("fixed_params", {}) | trial.params
            params = {name: params[name] for name in ranges}
            early = trial.number < since and trial.state != TrialState.FAIL
            if key is None and early and (whole or _enqueued(trial)):
                key = (str(trial.number), -1, 0, 0.0)
                starts[key] = params
            if key and trial.state == TrialState.FAIL and (lost or key not in failed):
                failed |= set() if lost else {key}  # a first failure frees the probe
            elif key:
                ledger.setdefault(key, Outcome(key, trial.number, _loss(study, trial), params if whole else {}))
        seed = list(study.study_name.encode()) if self._seed is None else [self._seed]
        return Search(Cube(ranges), starts or {("", -1, 0, 0.0): first}, seed, *self._rules), ledger


def forgive(study: Study, trial: FrozenTrial | Trial) -> None:
    """Do not hold a failed trial against its probe, since only its worker was lost.

    RDBStorage takes this function as its `heartbeat_stale_trial_callback`.
    """
    study.set_user_attr(f"{LOST}:{trial.number}", True)


def _numeric(ranges: Ranges) -> dict[str, Number]:
    return {name: d for name, d in ranges.items() if isinstance(d, Number) and not d.single()}


def _inside(d: Number, value: float) -> bool:
    steps = 0.0 if d.step is None else (value - d.low) / d.step
    return d.low <= value <= d.high and abs(steps - round(steps)) < 1e-8


def _enqueued(trial: FrozenTrial) -> bool:
    return "fixed_params" in trial.system_attrs and not trial.state.is_finished()


def _check(study: Study) -> None:
    if len(study.directions) > 1:
        raise ValueError("golden-section search has a single objective; give a study of several another sampler")


def _sign(study: Study) -> int:
    return -1 if study.direction == StudyDirection.MAXIMIZE else 1


def _loss(study: Study, trial: FrozenTrial) -> float:
    if not trial.state.is_finished():
        return math.nan
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return math.inf if value is None or math.isnan(value) else _sign(study) * value


def _look(study: Study, without: int | None = None) -> View:
    """The study without one trial. Trials are read before claims, so that a finished trial's claim is never missed."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number != without]
    attrs = study.user_attrs
    found = {t.number: attrs[name] for t in trials if (name := f"{CLAIM}:{t.number}") in attrs}
    claims = {n: Claim(**claim | {"key": tuple(claim["key"])}) for n, claim in found.items()}  # JSON has only lists
    return View(trials, claims, {t.number for t in trials if f"{LOST}:{t.number}" in attrs})


def _claimed(study: Study, trial: FrozenTrial, claim: Claim) -> bool:
    """Take a probe, unless a rival has it.

    A worker that sees no rival settles. Of two that see each other, the one with the higher number lets go, and the
    other waits to see whether the first had settled before: a single look would not show it.
    """
    name = f"{CLAIM}:{trial.number}"
    study.set_user_attr(name, claim._asdict())
    for _ in range(LOOKS):
        view = _look(study, trial.number)
        alive = {t.number for t in view.trials if t.state != TrialState.FAIL}
        rivals = {number: other for number, other in view.claims.items() if other.key == claim.key and number in alive}
        if not rivals:
            study.set_user_attr(name, claim._replace(settled=True)._asdict())
            return True
        if any(number < trial.number or other.settled for number, other in rivals.items()):
            return False
        time.sleep(0.01)
    return False
