"""TPS, the form of morphometrics (tpsDig): LM=K and K lines `x y`, then IMAGE=, ID=, SCALE= and the like.

Its y counts UP, from the lower edge of the image, so that the image's height is needed to turn it over. Coordinates are
pixels whatever SCALE says, which is the length of one.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from brule.data import photos
from brule.data.forms.objects import HALF, File, Marked, Proposal, Size, Sizes, numbered, printable
from brule.data.labels import as_point
from brule.data.schemes import Scheme
from brule.errors import BruleError, counted, quoted

_MISSING = [-1.0, -1.0]
"""What tpsDig writes for a landmark that cannot be seen."""


def recognised(content: str) -> bool:
    """Whether a text has this form."""
    return re.match(r"\s*LM3?\s*=", content, re.IGNORECASE) is not None


def read(path: Path, content: str, sizes: Sizes) -> File:
    """The specimens. Curves are passed over.

    Where the image, and so its height, is not at hand, a shape is turned over within its own extent: its form is right,
    its place in the image unknown. Prints how many are.
    """
    lines = [(number, line.strip()) for number, line in enumerate(content.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line]
    specimens: list[tuple[str, list[list[float]], dict[str, str]]] = []
    at, others = 0, 0
    while at < len(lines):
        number, line = lines[at]
        key, equals, value = line.partition("=")
        key, value, at = key.strip().upper(), value.strip(), at + 1
        where = f"{path}, line {number}"
        if key == "LM3":
            raise BruleError(f"{where}: its landmarks have three coordinates; give the two-dimensional ones of images")
        if not equals:
            raise BruleError(f"{where}: {quoted(line)} is more than LM= announces, or no TPS at all; correct the file")
        if key in ("LM", "POINTS"):
            points = _points(path, lines, at, where, value)
            at += len(points)
            if key == "LM":
                specimens.append((where, points, {}))
            else:
                others += 1
        elif specimens:
            specimens[-1][2][key] = value
    objects, unknown = [], 0
    others += sum(not points for _, points, _ in specimens)
    specimens = [specimen for specimen in specimens if specimen[1]]
    names = numbered([(where, len(points)) for where, points, _ in specimens])
    for where, points, facts in specimens:
        image = facts.get("IMAGE", "").replace("\\", "/")
        size = (sizes(image) if image else None) or _beside(path, image)
        unknown += size is None
        objects.append(Marked(where, image, size, _turned(points, size)))
    if unknown:
        print(
            f"{path}: the height of {unknown} of {len(objects)} images is unknown, so their shapes are turned over "
            "within their own extent (TPS counts y upwards)."
        )
    return File(objects, names, others=others)


def _points(path: Path, lines: Sequence[tuple[int, str]], at: int, where: str, count: str) -> list[list[float]]:
    if not count.isascii() or not count.isdecimal() or len(count) > 6:
        raise BruleError(f"{where}: {quoted(count)} is not a number of landmarks; correct the line")
    own = lines[at : at + int(count)]
    points = [as_point(line.split(), f"{path}, line {number}") for number, line in own if "=" not in line]
    if len(points) != int(count):
        raise BruleError(
            f"{where}: announces {counted(int(count), 'landmark')} but {len(points)} follow; correct the file"
        )
    return points


def _beside(path: Path, image: str) -> Size | None:
    """The size of the image, if it lies where the file is."""
    place = path.parent / image
    try:
        return photos.size(place) if image and place.is_file() else None
    except (BruleError, OSError, ValueError):
        return None


def _turned(points: Sequence[Sequence[float]], size: Size | None) -> dict[str, list[float]]:
    seen = {str(k): point for k, point in enumerate(points) if list(point) != _MISSING}
    heights = [point[1] for point in seen.values()]
    top = size[1] if size else min(heights, default=0) + max(heights, default=0) + 2 * HALF
    return {name: [x - HALF, top - y - HALF] for name, (x, y) in seen.items()}


def text(_: Scheme, proposals: Sequence[Proposal]) -> str:
    """The file of some proposals. It has no names: the landmarks are in the order of the detector's."""
    lines = []
    for number, proposal in enumerate(proposals):
        lines.append(f"LM={len(proposal.points)}")
        lines += [f"{x + HALF:.3f} {proposal.size[1] - y - HALF:.3f}" for x, y in proposal.points.tolist()]
        lines += [f"IMAGE={printable(proposal.image)}", f"ID={number}"]
    return "\n".join(lines) + "\n"
