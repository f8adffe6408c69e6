"""How the coefficients c5–c10 are searched for: `tuning`."""

from typing import Annotated, Literal

from pydantic import Field

from brule.config.section import Positive, Section

Coefficient = Literal["c5", "c6", "c7", "c8", "c9", "c10"]


class Tuning(Section):
    """The random-direction golden-section search (section 2), within a run or from a trained one (`make tune`)."""

    online: bool = False
    """Search in the course of `train`: in its stage `tuning.stage`, so many iterations each are a trial."""
    stage: str = "joint"
    """The stage whose iterations a trial makes."""
    coefficients: Annotated[tuple[Coefficient, ...], Field(min_length=1)] = ("c5", "c6", "c7", "c8", "c9", "c10")
    """Those searched for; one whose value in `loss` is 0 is left out, since it has no logarithm."""
    iterations: Positive = 60
    """Of training: one trial."""
    trials: Positive = 40
    """Of `make tune`; online, as many as fit into the stage."""
    continues: Annotated[Literal["origin", "latest"], Field(alias="continue")] = "origin"
    """What a trial trains on from: the state at its line's start, or what the trial before it left (the paper's)."""
    range: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 100.0
    """c is searched for in [c / range, c · range], from the c of `loss`."""
    step: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Length of the longest line, in widths of the range of one coefficient, in logarithms."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A line ends when its bracket is shorter than this share of it."""
    directions: Positive = 5
    """So many are tried before a line goes on along the best of them."""
