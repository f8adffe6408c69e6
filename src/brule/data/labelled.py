"""The few labelled images: a text file with one image name a line."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from brule.data.records import Record
from brule.errors import BruleError


def read_names(path: Path) -> list[str]:
    """The names, in the file's order; blank lines and lines that begin with # say nothing.

    Raises BruleError naming the file, and the line where a name stands a second time.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        raise BruleError(f"{path}: is no text file that can be read; set prepare.labelled to a list of names") from None
    names: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if name in names:
            raise BruleError(f"{path}, line {number}: {name} stands on line {names[name]} already; give it once")
        names[name] = number
    if not names:
        raise BruleError(f"{path}: names no image; give one name a line")
    return list(names)


def listed(path: Path, records: Sequence[Record]) -> set[str]:
    """`image` of the records that the file names.

    A name is a record's `image`, as in the column `name` of index.csv, with its suffix or without: copies of one data
    set differ in the format of the images. Raises BruleError naming file, name and mend where a name is no image's,
    or two images', or that of an image whose landmarks training may not see anyhow.
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
                "the name (the list's other names then are another experiment)"
            )
        record = _one(path, name, by_name[name])
        if record.image in images:
            raise BruleError(f"{path}: names {record.image} twice, with its suffix and without; give it once")
        images.add(record.image)
    return images


def _one(path: Path, name: str, candidates: Sequence[Record]) -> Record:
    if len(candidates) > 1:
        raise BruleError(f"{path}: {name} is the name of {len(candidates)} images; give it with its suffix")
    record = candidates[0]
    if record.split in ("validation", "test"):
        raise BruleError(f"{path}: {name} is an image of the {record.split} part; name training images only")
    if record.extra or not record.points:
        raise BruleError(f"{path}: {name} has no landmarks for training; name images of data.source with landmarks")
    return record
