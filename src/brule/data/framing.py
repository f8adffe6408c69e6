"""From records to faces: the split, the square and the landmarks in crop units of every image that is used."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from brule import config
from brule.data.crop import Square, around, to_units
from brule.data.landmarks import Points, read_pts
from brule.data.layouts import Split
from brule.data.records import Record
from brule.data.splits import assign, photo_groups
from brule.errors import BruleError


@dataclass(frozen=True)
class Face:
    """An image to be cut."""

    record: Record
    group: str
    split: Split
    square: Square | None
    """None: the largest centred square."""
    landmarks: Points | None
    """(K, 2) in crop units; None where it is unlabelled, or extra."""


def framed(
    raw: Path, records: Sequence[Record], prepare: config.Prepare, seed: int, labelled: Collection[str]
) -> list[Face]:
    """Split and square of every image that is used. The photos of `labelled` (images' names) stay in training."""
    groups = photo_groups(raw, records)
    kept = {group for record, group in zip(records, groups, strict=True) if record.image in labelled}
    splits = assign(records, groups, {"validation": prepare.validation, "test": prepare.test}, seed, kept)
    faces = []
    for record, group, split in zip(records, groups, splits, strict=True):
        if split is None:
            continue
        square, units = record.crop, None
        if record.points:
            path = raw / record.points
            points = read_pts(path)
            square, units = frame(points, prepare, path)
        faces.append(Face(record, group, split, square, None if record.extra else units))
    return faces


def frame(points: Points, prepare: config.Prepare, origin: object) -> tuple[Square, Points]:
    """The square around landmarks (K, 2) in pixels, and the landmarks in its units. An error names their `origin`."""
    try:
        square = around(points, prepare.crop_fill, prepare.crop_lift)
    except BruleError as error:
        raise BruleError(f"{origin}: {error}") from None
    return square, to_units(points, square)
