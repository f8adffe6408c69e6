"""When a new detector takes the alias `champion` from the old one: measured on the same faces, it is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

ALIAS = "champion"


@dataclass(frozen=True)
class Measured:
    """What is known about a version, on the validation split: the test split chooses nothing."""

    faces: str
    """A digest of the split's images and landmarks: equal ones make errors comparable."""
    nme: float | None
    """Percent; None where the split has no landmarks."""
    floor: float | None
    """That of the barycenter everywhere."""
    alarms: Sequence[str] = ()
    """How it collapsed, if it did."""

    def tags(self) -> dict[str, str]:
        """As tags of a version."""
        numbers = {"validation.nme": self.nme, "validation.floor": self.floor}
        return {
            "validation.faces": self.faces,
            **{name: "" if value is None else repr(value) for name, value in numbers.items()},
            "alarms": "; ".join(self.alarms)[:5000],
        }

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> Self:
        """From the tags of a version; one that somebody else registered has none of them."""
        nme, floor = (_number(tags.get(f"validation.{name}")) for name in ("nme", "floor"))
        alarms = (tags["alarms"],) if tags.get("alarms") else ()
        return cls(tags.get("validation.faces", ""), nme, floor, alarms)


def objection(own: Measured, champion: Measured | None) -> str | None:
    """Why the alias stays where it is; None: it moves. `champion`: the version that has it now, if there is one."""
    if own.nme is None or own.floor is None:
        return "its validation split has no landmarks, so nothing is known about its error"
    if own.alarms:
        return "its collapse alarms stand"
    if own.nme >= own.floor:
        return f"its validation NME of {own.nme:.2f} % does not beat the floor of {own.floor:.2f} %"
    if champion is None:
        return None
    if champion.nme is None or champion.faces != own.faces:
        return "it was measured on other validation faces than the champion, so the two errors cannot be compared"
    if own.nme >= champion.nme:
        return f"its validation NME of {own.nme:.3f} % does not beat the champion's {champion.nme:.3f} %"
    return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
