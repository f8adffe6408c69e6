"""The search for the coefficients c5–c10 (section 2): its ranges, and the search in the course of one run."""

import copy
import math
from typing import Any

import optuna
from optuna.distributions import FloatDistribution

from brule.config import Config
from brule.errors import BruleError
from brule.method.golden_section import GoldenSectionSampler
from brule.method.training import Row, State, Training

TRIAL = "tuning/trial"


def ranges(config: Config) -> dict[str, FloatDistribution]:
    """{c5: log-uniform in [c5 / range, c5 · range], …} of the coefficients that are searched for, are not 0, and weigh
    something in `tuning.stage`.

    Raises BruleError where none is left.
    """
    loss, tuning = config.loss, config.tuning
    stage = config.stages[tuning.stage]
    weighs = {"c6": stage.target != "barycenter"} | dict.fromkeys(("c5", "c7"), bool(stage.regularise))
    weighs |= dict.fromkeys(("c8", "c9", "c10"), bool(stage.gan_every))
    values: dict[str, float] = {name: float(getattr(loss, name)) for name in tuning.coefficients if weighs[name]}
    found = {
        name: FloatDistribution(value / tuning.range, value * tuning.range, log=True)
        for name, value in values.items()
        if value > 0
    }
    if not found:
        raise BruleError(
            f"tuning.coefficients: every one of them is 0 in `loss`, or weighs nothing in stage {tuning.stage}; add "
            "another, or name another stage"
        )
    return found


def sampler(config: Config) -> GoldenSectionSampler:
    """The paper's search from the coefficients of `loss`.

    A line's first trial trains on with the incumbent's coefficients. So the others are compared with what the same
    stretch of training does without a change.
    """
    space, tuning = ranges(config), config.tuning
    rules = {"step": tuning.step, "tolerance": tuning.tolerance, "directions": tuning.directions}
    given: dict[str, Any] = {name: value for name, value in rules.items() if value is not None}
    return GoldenSectionSampler(
        seed=config.seed,
        ranges=space,
        start={name: float(getattr(config.loss, name)) for name in space},
        remeasure=True,
        **given,
    )


def row(search: GoldenSectionSampler, study: optuna.Study, trial: optuna.trial.FrozenTrial, iteration: int) -> Row:
    """A finished trial as a row of the history: c5 … c10, its score, and the best trial of the decided path so far."""
    path = [step for step in search.path(study) if step.number <= trial.number]
    incumbent, best = (path[-1].incumbent, path[-1].incumbent_value) if path else (trial.number, math.nan)
    return {
        "iteration": iteration,
        TRIAL: float(trial.number),
        **{f"tuning/{name}": float(value) for name, value in trial.params.items()},
        "tuning/score": math.nan if trial.value is None else trial.value,
        "tuning/incumbent": float(incumbent),
        "tuning/best": best,
    }


class Online:
    """The search in the course of one run: in `tuning.stage`, every `tuning.iterations` iterations are a trial.

    `continue: origin`: every trial of a line trains on from the state at the line's start; when the line is over, the
    run goes on from what its best trial left. The stage takes longer by as many times as a line has trials.
    `continue: latest` (the paper's): nothing is ever taken back, and a trial is a stretch of the stage.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.space, self.search = config, ranges(config), sampler(config)
        self.rewinds = config.tuning.continues == "origin"
        self.study = _study(self.search)
        self.trial: optuna.Trial | None = None
        self.end = 0
        self.line: int | None = None  # the present one
        self.origin: State | None = None  # the state at the start of the line
        self.kept: State | None = None  # what the incumbent left
        self.rows: list[Row] = []

    def turn(self, training: Training) -> Row | None:
        """Between two iterations: end a trial that is over, and begin the next. Returns the row of the ended one."""
        first, last = training.schedule.span(self.config.tuning.stage)
        ended = None
        if self.trial is not None and training.iteration == self.end:
            ended = self._end(training, self.trial)
        if self.trial is None and first <= training.iteration and (ended or training.iteration < last):
            self._begin(training, last)
        return ended

    @property
    def tentative(self) -> bool:
        """Whether what happens now may be taken back."""
        return self.rewinds and self.trial is not None

    def _end(self, training: Training, trial: optuna.Trial) -> Row:
        score = training.score()
        frozen = self.study.tell(trial, score if math.isfinite(score) else math.inf)
        ended = row(self.search, self.study, frozen, training.iteration)
        self.rows.append(ended)
        training.history.append(ended)
        if self.rewinds and math.isfinite(score) and ended["tuning/incumbent"] == trial.number:
            self.kept = copy.deepcopy(training.state())
        self.trial = None
        return ended

    def _begin(self, training: Training, last: int) -> None:
        trial = self.study.ask(fixed_distributions=dict(self.space))
        line = self.search.line(self.study, self.study.trials[trial.number])
        if self.rewinds and self.origin is not None and line == self.line:
            self._recall(training, self.origin)
        elif self.rewinds:
            self._next_line(training)
            self.line, self.origin = line, copy.deepcopy(training.state())
        if training.iteration < last:
            self.trial, self.end = trial, min(training.iteration + self.config.tuning.iterations, last)
            training.set_coefficients(trial.params)
        else:  # the stage is over, and this line with it
            training.set_coefficients(self.coefficients())

    def _next_line(self, training: Training) -> None:
        """The line is over: go on from what its best trial left."""
        if self.kept is not None:
            self._recall(training, self.kept)
        elif self.rows:
            raise BruleError(
                "tuning: no trial of a line ended with a finite answer of the encoder; "
                f"lower stages.{self.config.tuning.stage}.learning_rate or tuning.range"
            )
        self.kept = None

    def _recall(self, training: Training, state: State) -> None:
        """Go back to that state; the rows of all trials stay in the history."""
        training.restore(copy.deepcopy(state))
        known = {past[TRIAL] for past in training.history if TRIAL in past}
        training.history += [past for past in self.rows if past[TRIAL] not in known]

    def coefficients(self) -> dict[str, float]:
        """The incumbent's, as far as the search has come."""
        path = self.search.path(self.study)
        return dict(self.study.trials[path[-1].incumbent].params) if path else {}

    def summary(self) -> dict[str, Any]:
        """What the search found, for results/train.json."""
        scores = [past["tuning/score"] for past in self.rows]
        return {
            "trials": len(self.rows),
            "first": scores[0] if scores else None,
            "best": self.rows[-1]["tuning/best"] if scores else None,
            "coefficients": self.coefficients(),
        }

    # ------------------------------------------------------------------------------------------------- the resume state

    def state(self) -> State:
        """The finished trials, and the states that the run may go back to; a running trial is asked for again."""
        finished = [t for t in self.study.trials if t.state.is_finished()]
        return {
            "trials": [{"params": t.params, "value": t.value} for t in finished],
            "attrs": self.study.user_attrs,
            "running": self.trial is not None,
            **{name: getattr(self, name) for name in ("end", "line", "origin", "kept", "rows")},
        }

    def restore(self, state: State, training: Training) -> None:
        """The inverse of `state`; `training` has been restored already."""
        self.study = _study(self.search)
        for past in state["trials"]:
            self.study.add_trial(optuna.trial.create_trial(**past, distributions=dict(self.space)))
        for name, value in state["attrs"].items():
            self.study.set_user_attr(name, value)
        for name in ("end", "line", "origin", "kept", "rows"):
            setattr(self, name, state[name])
        self.trial = self.study.ask(fixed_distributions=dict(self.space)) if state["running"] else None
        if coefficients := self.trial.params if self.trial else self.coefficients():
            training.set_coefficients(coefficients)


def _study(search: GoldenSectionSampler) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=search, study_name="online")
