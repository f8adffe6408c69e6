"""`data.labels`: which image of the source each label belongs to, and one order of landmarks for labels and shapes."""

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from brule import files
from brule.data import photos
from brule.data.download import local
from brule.data.forms.objects import Size
from brule.data.labels import Labels, Points
from brule.data.landmarks import read_shapes
from brule.data.layouts import Found
from brule.data.pts import format_pts
from brule.data.schemes import Scheme
from brule.errors import BruleError, counted, quoted

KEY = "data.labels"


class Images:
    """The images of a source, by the names that labelling tools have for them."""

    def __init__(self, found: Sequence[Found]) -> None:
        self.by_file: dict[str, list[Found]] = defaultdict(list)
        self.by_upload: dict[str, list[Found]] = defaultdict(list)
        for each in found:
            name = _composed(PurePosixPath(each.name).name)
            self.by_file[name].append(each)
            self.by_upload[_uploaded(name)].append(each)
        self.measured = functools.cache(photos.size)

    def candidates(self, name: str) -> list[Found]:
        """The images of this file name. Of several, those whose folders agree with the name's for longest.

        If there is none, a server may have changed the name when the image was uploaded.
        """
        parts = PurePosixPath(_composed(name).replace("\\", "/")).parts[::-1]
        file = parts[0] if parts else ""
        same = self.by_file.get(file) or self.by_upload.get(file, [])
        length = {each.name: _agreeing(parts[1:], PurePosixPath(_composed(each.name)).parts[-2::-1]) for each in same}
        return [each for each in same if length[each.name] == max(length.values())]

    def size(self, name: str) -> Size | None:
        """`Sizes`: that of the one image of this name."""
        found = self.candidates(name)
        return self.measured(found[0].image) if len(found) == 1 else None


def _composed(name: str) -> str:
    """A name in one spelling: an archive made by macOS writes ä as a and two dots."""
    return unicodedata.normalize("NFC", name)


def _uploaded(name: str) -> str:
    """The file name under which Label Studio, as all that is built on Django, keeps an image of this name."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _agreeing(one: Sequence[str], other: Sequence[str]) -> int:
    return next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def label(found: Sequence[Found], location: str, workspace: Path, key: str = KEY) -> tuple[list[Found], Labels]:
    """The images with the landmarks that a file of labels has of them, written as `.pts` into a folder of its own.

    `key` is what errors call the place of the file.
    """
    images = Images(found)
    with local(location, key=key) as path:
        labels = read_shapes(path, images.size)
        matched = match(labels, images, path)
    pairs = []
    for each in found:
        if each.name in matched:
            file = (workspace / each.name).with_suffix(".pts")
            files.write_text(file, format_pts(matched[each.name]))
            each = replace(each, points=file)
        pairs.append(each)
    return pairs, labels


def match(labels: Labels, images: Images, origin: Path) -> dict[str, Points]:
    """The `name` of each labelled image, and its landmarks.

    An image is found by its path within the source, as far as the label tells it, or by its file name alone if no other
    image has that. Raises BruleError naming `origin` and the image if one is not there, could be several, has several
    objects or a `.pts` of its own, or has another size than the one that was labelled.
    """
    if not labels.images:
        raise BruleError(f"{origin}: names no images, so its landmarks are shapes; set data.shapes to it instead")
    matched: dict[str, Points] = {}
    writers: dict[str, str] = {}
    missing: list[str] = []
    sides: Sequence[Size | None] = labels.sizes or [None] * len(labels.images)
    for name, points, size in zip(labels.images, labels.points, sides, strict=True):
        found = images.candidates(name)
        if not found:
            missing.append(name)
            continue
        if len(found) > 1:
            raise BruleError(
                f"{origin}: {name} may be {found[0].name} or {found[1].name}; write the folder too, as in data.location"
            )
        image = found[0]
        if image.name in matched:
            raise _several(labels, images, image, origin)
        if image.points:
            raise BruleError(f"{origin}: {name} has landmarks here and in {image.points.name} beside it; remove one")
        if size and size != (own := images.measured(image.image)):
            raise BruleError(
                f"{origin}: {name} was labelled at {size[0]}x{size[1]} pixels, but in data.location it has "
                f"{own[0]}x{own[1]}; give the images that were labelled"
            )
        beside = str(PurePosixPath(image.name).with_suffix(".pts"))
        if beside in writers:
            raise BruleError(
                f"{origin}: {writers[beside]} and {image.name} would have the same .pts; rename one of them"
            )
        writers[beside] = image.name
        matched[image.name] = points
    if missing:
        raise BruleError(
            f"{origin}: {len(set(missing))} of its images are not in data.location, such as {missing[0]}; add them, or "
            "remove their labels"
        )
    return matched


def _several(labels: Labels, images: Images, image: Found, origin: Path) -> BruleError:
    names = list(dict.fromkeys(name for name in labels.images if image in images.candidates(name)))
    if len(names) > 1:
        return BruleError(
            f"{origin}: {names[0]} and {names[1]} would both be {image.name} of data.location; add the other image, or "
            "remove its labels"
        )
    return BruleError(
        f"{origin}: {names[0]} has {labels.images.count(names[0])} objects, but training takes one an image; keep one, "
        "or cut each out into an image of its own"
    )


def agree(labels: Labels, shapes: Labels) -> tuple[Labels, Labels]:
    """Both with one scheme: the shapes' landmarks in the order of the labels', and what either says of them.

    Raises BruleError if they are not the same landmarks.
    """
    count, other = labels.points.shape[1], shapes.points.shape[1]
    if count != other:
        raise BruleError(
            f"{KEY}: has {counted(count, 'landmark')} but data.shapes has {other}; give both the same landmarks"
        )
    if labels.scheme is None or shapes.scheme is None:
        scheme = labels.scheme or shapes.scheme
        return _with(labels, scheme), _with(shapes, scheme)
    names, others = labels.scheme.names, shapes.scheme.names
    if lacking := [name for name in names if name not in others]:
        raise BruleError(
            f"{KEY}: has the landmark {quoted(lacking[0])}, which data.shapes does not have (it has "
            f"{', '.join(name for name in others if name not in names)}); give both the same names"
        )
    order = [others.index(name) for name in names]
    place = {k: position for position, k in enumerate(order)}
    known = shapes.scheme
    scheme = Scheme(
        names,
        labels.scheme.flip or (known.flip and tuple(place[known.flip[k]] for k in order)),
        labels.scheme.normaliser or (known.normaliser and (place[known.normaliser[0]], place[known.normaliser[1]])),
        labels.scheme.edges or tuple((place[one], place[two]) for one, two in known.edges),
    )
    moved = Labels(np.ascontiguousarray(shapes.points[:, order]), scheme, shapes.images, shapes.sizes)
    return _with(labels, scheme), moved


def _with(labels: Labels, scheme: Scheme | None) -> Labels:
    return Labels(labels.points, scheme, labels.images, labels.sizes)
