"""Which image goes to which split: whole photo groups, by a seeded draw, where the source has no split of its own."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from brule.data.fetch import digest
from brule.data.layouts import Split
from brule.data.records import Record
from brule.errors import BruleError

HELD_OUT: tuple[Split, ...] = ("test", "validation")


def photo_groups(raw: Path, records: Sequence[Record]) -> list[str]:
    """Each record's photo group: its source's, joined with those of all files that are equal byte for byte.

    Raises BruleError naming an image that is missing.
    """
    parent: dict[str, str] = {record.group: record.group for record in records}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for twins in _twins(raw, records):
        first, *others = sorted({root(record.group) for record in twins})
        parent.update(dict.fromkeys(others, first))
    return [root(record.group) for record in records]


def _twins(raw: Path, records: Sequence[Record]) -> Iterable[list[Record]]:
    """Records whose files are equal. Only files of equal length are read."""
    by_size: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        try:
            by_size[(raw / record.image).stat().st_size].append(record)
        except OSError:
            raise BruleError(f"{raw / record.image}: the image is missing; run the download stage again") from None
    by_content: dict[str, list[Record]] = defaultdict(list)
    for same_size in by_size.values():
        if len(same_size) > 1:
            for record in same_size:
                by_content[digest(raw / record.image)].append(record)
    return [twins for twins in by_content.values() if len(twins) > 1]


def assign(
    records: Sequence[Record], groups: Sequence[str], fractions: Mapping[Split, float], seed: int
) -> list[Split | None]:
    """Each record's split: its source's where it has one; a split that no record names takes its share of the others.

    Labelled and unlabelled photos are drawn apart, so that a few labels reach every split. An extra image of a photo
    that is in validation or test is left out (None).
    """
    splits: list[Split | None] = [_known(record) for record in records]
    given = {split for split, record in zip(splits, records, strict=True) if not record.extra}
    missing: list[Split] = [split for split in HELD_OUT if split not in given]
    _draw(missing, fractions, records, groups, splits, np.random.default_rng([seed, 1]))
    held_out = {group for group, split in zip(groups, splits, strict=True) if split in HELD_OUT}
    for index, (record, group) in enumerate(zip(records, groups, strict=True)):
        if record.extra:
            splits[index] = None if group in held_out else "train"
        elif splits[index] is None:
            splits[index] = "train"
    return splits


def _known(record: Record) -> Split | None:
    match record.split:
        case "train" | "validation" | "test" | None:
            return record.split
    raise BruleError(f"{record.image}: its split {record.split!r} is unknown; run the download stage again")


def _draw(
    targets: Sequence[Split],
    fractions: Mapping[Split, float],
    records: Sequence[Record],
    groups: Sequence[str],
    splits: list[Split | None],
    rng: np.random.Generator,
) -> None:
    """Move whole groups out of the training part until each target has its share of each stratum."""
    fixed = {group for group, split in zip(groups, splits, strict=True) if split in HELD_OUT}
    members: dict[str, list[int]] = defaultdict(list)
    for index, (record, group) in enumerate(zip(records, groups, strict=True)):
        if not record.extra and group not in fixed:
            members[group].append(index)
    strata: dict[bool, list[str]] = {True: [], False: []}
    for group in sorted(members):
        strata[any(records[index].points for index in members[group])].append(group)
    for stratum in strata.values():
        total = sum(len(members[group]) for group in stratum)
        queue = [stratum[k] for k in rng.permutation(len(stratum))]
        for target in targets:
            wanted = round(fractions[target] * total)
            while wanted > 0 and queue:
                group = queue.pop()
                wanted -= len(members[group])
                for index in members[group]:
                    splits[index] = target
