"""What is wrong with many files, in one sentence: whoever mends them should not have to ask again after each."""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from brule.errors import LONGEST, BruleError

TOLD = 10
"""Faults that are named, at most."""
T = TypeVar("T")


def attempt(step: Callable[[], T]) -> T | BruleError:
    """What the step returns, or what it has against a file."""
    try:
        return step()
    except BruleError as error:
        return error


def raise_all(failed: Sequence[BruleError]) -> None:
    """Raise one BruleError about all of these, if any: it names as many as it has room for, and their folder once."""
    if len(failed) == 1:
        raise failed[0]
    faults, told = list(map(str, failed)), ""
    folder = os.path.commonprefix(faults).partition(":")[0].rpartition("/")[0]  # noqa: RUF071 - no paths but sentences
    where, begin = (f" in {folder}", f"{folder}/") if folder else ("", "")
    for count in range(min(TOLD, len(faults)), 0, -1):
        named = [f"({number}) {fault.removeprefix(begin)}" for number, fault in enumerate(faults[:count], 1)]
        others = [f"and {len(faults) - count} more"] if count < len(faults) else []
        told = f"{len(faults)} faults{where}: {'; '.join([*named, *others])}"
        if len(told) <= LONGEST:
            break
    if told:
        raise BruleError(told)
