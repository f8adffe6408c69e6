"""Which image goes to which split, by a seeded draw of whole photo groups, and which images a list of labels names.

A source's own split is kept. The list is a text file with one image name per line.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from brule.data.download import digest
from brule.data.layouts import Record, Split
from brule.errors import BruleError

HELD_OUT: tuple[Split, ...] = ("test", "validation")


def photo_groups(raw: Path, records: Sequence[Record]) -> list[str]:
    """Each record's photo group. Groups that share a file, byte for byte, are one.

    Raises BruleError naming a missing image.
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
    """Lists of records with equal files. Only files of equal length are read."""
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
    records: Sequence[Record],
    groups: Sequence[str],
    fractions: Mapping[Split, float],
    seed: int,
    kept: Collection[str] = (),
    measure_first: bool = False,
) -> list[Split | None]:
    """Each record's split: the source's own, and a drawn share of the rest for every split that no record names.

    Labelled and unlabelled photos are drawn separately, so that a few labels reach every split. The groups in `kept`
    stay in the training part, and keeping them moves no other group out of validation or test. An extra image of a
    photo that is in validation or test is left out (None). `measure_first`: training has no use for the landmarks of
    groups that are not kept, so where these are fewer than half of the photos, they fill validation and test before
    any photo without landmarks does.
    """
    splits = [record.split for record in records]
    given = {split for split, record in zip(splits, records, strict=True) if not record.extra}
    missing: list[Split] = [split for split in HELD_OUT if split not in given]
    members, strata = _strata(records, groups, splits)
    free = [group for group in strata[0] if group not in kept]
    few = 0 < 2 * sum(len(members[group]) for group in free) < sum(map(len, members.values()))
    if measure_first and few:
        drawn = _measuring(free, strata[1], members, {split: fractions[split] for split in missing}, kept, seed)
    else:
        rng, drawn = np.random.default_rng([seed, 1]), {}
        for stratum in strata:
            queue = [stratum[k] for k in rng.permutation(len(stratum))]
            drawn |= _drawn(queue, members, missing, fractions, kept)
    for group, split in drawn.items():
        for index in members[group]:
            splits[index] = split
    held_out = {group for group, split in zip(groups, splits, strict=True) if split in HELD_OUT}
    for index, (record, group) in enumerate(zip(records, groups, strict=True)):
        if record.extra:
            splits[index] = None if group in held_out else "train"
        elif splits[index] is None:
            splits[index] = "train"
    return splits


def _strata(
    records: Sequence[Record], groups: Sequence[str], splits: Sequence[Split | None]
) -> tuple[Mapping[str, list[int]], tuple[list[str], list[str]]]:
    """The records of each group that may be held out, and these groups: those with landmarks, and those without."""
    fixed = {group for group, split in zip(groups, splits, strict=True) if split in HELD_OUT}
    members: dict[str, list[int]] = defaultdict(list)
    for index, (record, group) in enumerate(zip(records, groups, strict=True)):
        if not record.extra and group not in fixed:
            members[group].append(index)
    strata: tuple[list[str], list[str]] = [], []
    for group in sorted(members):
        strata[not any(records[index].points for index in members[group])].append(group)
    return members, strata


def _drawn(
    queue: list[str],
    members: Mapping[str, list[int]],
    targets: Sequence[Split],
    fractions: Mapping[Split, float],
    kept: Collection[str],
) -> dict[str, Split]:
    """Whole groups from the end of the queue until each target has its share. A group in `kept` leaves a gap.

    The gaps are filled last, so that keeping a group never moves another group between targets.
    """
    total = sum(len(members[group]) for group in queue)
    drawn: dict[str, Split] = {}
    gaps: dict[Split, int] = dict.fromkeys(targets, 0)
    for target in targets:
        wanted = round(fractions[target] * total)
        while wanted > 0 and queue:
            group = queue.pop()
            wanted -= len(members[group])
            if group in kept:
                gaps[target] += len(members[group])
            else:
                drawn[group] = target
    free = [group for group in queue if group not in kept]
    for target in targets:
        while gaps[target] > 0 and free:
            group = free.pop()
            gaps[target] -= len(members[group])
            drawn[group] = target
    return drawn


def _measuring(
    labelled: Sequence[str],
    blank: Sequence[str],
    members: Mapping[str, list[int]],
    fractions: Mapping[Split, float],
    kept: Collection[str],
    seed: int,
) -> dict[str, Split]:
    """As many `labelled` groups as validation and test have room for, in proportion to their sizes; the rest is blank.

    The sizes are the shares of all photos. A group's place in the queue follows from the seed and its own name, so that
    a photo that is labelled later, or listed for training, moves no other photo.
    """

    def queue(groups: Sequence[str]) -> list[str]:
        return sorted(groups, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())

    total = sum(map(len, members.values()))
    sizes = {split: round(share * total) for split, share in fractions.items()}
    given = sum(len(members[group]) for group in labelled)
    share = min(1.0, given / max(1, sum(sizes.values())))
    drawn: dict[str, Split] = {}
    rest = queue(labelled)
    for position, (split, size) in enumerate(sizes.items(), 1):
        # The last part takes all that is left up to its size: rounding must not send a label to training.
        wanted = size if position == len(sizes) else round(share * size)
        while wanted > 0 and rest:
            group = rest.pop()
            wanted -= len(members[group])
            sizes[split] -= len(members[group])
            drawn[group] = split
    rest = [group for group in queue(blank) if group not in kept]
    for split, size in sizes.items():
        while size > 0 and rest:
            group = rest.pop()
            size -= len(members[group])
            drawn[group] = split
    return drawn


def halve(sizes: Mapping[str, int], first: Collection[str], seed: int) -> set[str]:
    """The groups of the second half, in a seeded draw of two halves with nearly equal sums of `sizes`.

    Large groups are dealt before small ones, each to the half that is smaller so far. The groups in `first` belong to
    the first half, however many they are. Apart from them the halves differ by at most the largest group.
    """
    names = sorted(set(sizes) - set(first))
    names = [names[k] for k in np.random.default_rng([seed, 3]).permutation(len(names))]
    sums, second = [sum(sizes[name] for name in first), 0], set()
    for name in sorted(names, key=lambda name: -sizes[name]):
        half = int(sums[1] < sums[0])
        sums[half] += sizes[name]
        if half:
            second.add(name)
    return second


def read_names(path: Path) -> list[str]:
    """The names in the file, in order. Blank lines and lines that begin with # are skipped.

    Raises BruleError naming the file, and the line of a repeated name.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise BruleError(f"{path}: does not exist; set prepare.labelled to a list of names") from None
    except (OSError, ValueError):
        raise BruleError(f"{path}: is not a readable text file; set prepare.labelled to a list of names") from None
    names: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if name in names:
            raise BruleError(f"{path}, line {number}: {name} is already on line {names[name]}; remove one of them")
        names[name] = number
    if not names:
        raise BruleError(f"{path}: names no image; write one name per line")
    return list(names)


def listed(path: Path, records: Sequence[Record]) -> set[str]:
    """The `image` of every record that the file names.

    A name is a record's `image`, as in the column `name` of index.csv. Its suffix may be left out, since copies of one
    data set differ in the format of the images. Raises BruleError naming the file and the name if no image or several
    images have that name, or if training may not see the landmarks of the image anyway.
    """
    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_name[record.image].append(record)
        by_name[record.image.removesuffix(Path(record.image).suffix)].append(record)
    images: set[str] = set()
    for name in read_names(path):
        if name not in by_name:
            like = f" ({records[0].image} is)" if records else ""
            raise BruleError(
                f"{path}: {name} is not among the images{like}; write its folder too, complete the data set, or remove "
                "the name (which makes it another experiment)"
            )
        record = _one(path, name, by_name[name])
        if record.image in images:
            raise BruleError(f"{path}: names {record.image} twice, with and without its suffix; remove one of them")
        images.add(record.image)
    return images


def _one(path: Path, name: str, candidates: Sequence[Record]) -> Record:
    if len(candidates) > 1:
        raise BruleError(f"{path}: {name} is the name of {len(candidates)} images; add the suffix")
    record = candidates[0]
    if record.split in ("validation", "test"):
        raise BruleError(f"{path}: {name} is a {record.split} image; name training images only")
    if record.extra or not record.points:
        raise BruleError(
            f"{path}: {name} has no landmarks for training; name images from data.source that have landmarks"
        )
    return record
