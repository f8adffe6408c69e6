"""Collapse: which monitors fired during a run, which still stand at its end, and what that means in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
_BETWEEN = " | "


def columns(alarms: Sequence[str]) -> dict[str, float | str]:
    """A validation's alarms as two columns of the history: their number, which MLflow draws, and their sentences."""
    return {"monitors/alarms": float(len(alarms)), "alarms": _BETWEEN.join(alarms)}


def _named(row: Row) -> dict[str, str]:
    """{monitor: its sentence} of a history's row; the name is what stands before the first ` is `."""
    return {text.partition(" is ")[0]: text for text in str(row["alarms"]).split(_BETWEEN) if text}


class Watch:
    """Tells the alarms that are news: those of monitors that were within their limits at the validation before."""

    def __init__(self) -> None:
        self._standing: set[str] | None = None  # before the first validation nothing was within its limit

    def news(self, row: Row) -> list[str]:
        """Sentences of the monitors that have just fired; the young encoder's first alarms are expected, not news."""
        if "alarms" not in row:
            return []
        now, before = _named(row), self._standing
        self._standing = set(now)
        return [] if before is None else [text for name, text in now.items() if name not in before]


@dataclass(frozen=True)
class Collapse:
    """Alarms that stand at the last validation of a run."""

    iteration: int
    """Since when, without a break, the one stands that fired first."""
    monitor: str
    """Its name."""
    late: bool
    """It had been within its limit before; otherwise it was beyond it from the first validation on."""
    alarms: list[str]
    """The sentences of the last validation, the one that fired first in front."""

    def sentence(self, best: int, healthy: bool) -> str:
        """What happened, where to look, and what the written model is: the checkpoint of iteration `best`."""
        look = self.alarms[0].partition("look at ")[2]
        if self.late:
            text = f"the run collapsed: {self.monitor} fired at iteration {self.iteration} and stands at the end"
        else:
            text = f"the run never left collapse: {self.monitor} has been firing since the first validation"
        advice = f"; look at {look}" if look else ""
        if healthy:
            return f"{text}{advice}. The detector written is the healthy checkpoint of iteration {best}"
        return (
            f"{text}{advice}, or train longer. No checkpoint was healthy: the detector written, of iteration {best}, "
            "is good only for seeing what went wrong"
        )


def collapse(history: Iterable[Row]) -> Collapse | None:
    """The collapse that a run ended in; None where its last validation raised no alarm.

    An alarm that went away again does not count: a young encoder starts beyond several limits.
    """
    validations = [(int(row["iteration"]), _named(row)) for row in history if "alarms" in row]
    since: dict[str, int] = {}
    for iteration, named in validations:
        since = {name: since.get(name, iteration) for name in named}
    if not since:
        return None
    order = sorted(since, key=lambda name: since[name])
    first, last = validations[0][0], validations[-1][1]
    return Collapse(since[order[0]], order[0], since[order[0]] > first, [last[name] for name in order])
