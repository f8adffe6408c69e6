"""What lies where in each kind of data set: a folder → its images, with landmarks, photo group, split and crop.

What the manifest of data/raw says of an image: written by `download`, read by `prepare`."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from brule.data.crop import SUFFIXES, Square
from brule.errors import BruleError
from brule.terminal import track

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Found:
    """An image of a data set, where it lies now."""

    image: Path
    name: str
    """Its place within the source, with forward slashes."""
    group: str
    """Images of one group show the same photo: no split separates them."""
    points: Path | None = None
    split: Split | None = None
    crop: Square | None = None


@dataclass(frozen=True)
class Part:
    """A folder of the official 300-W layout."""

    name: str
    split: Split
    count: int


PARTS = (
    Part("helen/trainset", "train", 2000),
    Part("lfpw/trainset", "train", 811),
    Part("afw", "train", 337),
    Part("helen/testset", "test", 330),
    Part("lfpw/testset", "test", 224),
    Part("ibug", "test", 135),
)
"""The 68-point set of the iBUG facial point annotations page. The paths of two names come first: they say more."""

CELEBA_SIZE = (178, 218)
CELEBA_CROP = Square(88.6, 135.0, 123.2)
"""The square that frames an aligned CelebA face as the landmark box frames one of 300-W (measured)."""


def images(root: Path) -> Iterator[Path]:
    """Every image file below a folder, in a fixed order; hidden files and macOS's shadows are passed over."""
    for path in sorted(root.rglob("*")):
        shadow = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts)
        if path.suffix.lower() in SUFFIXES and not shadow and path.is_file():
            yield path


def scan_folder(roots: Sequence[Path]) -> list[Found]:
    """The user's own images; a `.pts` of the same stem beside an image makes it a labelled one.

    Each file is its own photo group (files equal byte for byte are joined later): a user's `face_1` and `face_2` are
    usually different photos, unlike 300-W's.
    """
    found = []
    for root in roots:
        for image in images(root):
            name = image.relative_to(root).as_posix()
            found.append(Found(image, name, group=name, points=_points(image)))
    return found


def scan_300w(roots: Sequence[Path]) -> list[Found]:
    """300-W in its official layout, whole or in part, below any folders. Images without a `.pts` are left out.

    Prints what is there of the official 3148 training and 689 test images.
    """
    found = []
    for root in roots:
        for image in images(root):
            points, part = _points(image), _part((root.name, *image.relative_to(root).parent.parts))
            # `_mirror`: the copies that dlib's edition of the set adds to it.
            if points and part and not image.stem.endswith("_mirror"):
                photo = re.sub(r"_\d{1,2}$", "", image.stem)
                found.append(Found(image, f"{part.name}/{image.name}", f"{part.name}/{photo}", points, part.split))
    counts = Counter(each.name.rpartition("/")[0] for each in found)
    shown = (f"{part.name} {counts[part.name]} of {part.count}" for part in PARTS if counts[part.name] < part.count)
    if missing := ", ".join(shown):
        print(f"300-W is not complete here, which is no obstacle: {missing}.")
    return found


def scan_celeba(roots: Sequence[Path]) -> list[Found]:
    """CelebA's aligned images (`img_align_celeba`), full size or reduced, each with the crop that fits 300-W's."""
    files = [(root, image) for root in roots for image in images(root)]
    found = []
    for root, image in track(files, "Reading sizes", len(files)):
        name = image.relative_to(root).as_posix()
        found.append(Found(image, name, group=name, crop=celeba_crop(image)))
    return found


def celeba_crop(path: Path) -> Square:
    """The crop of an aligned image of any scale. Raises BruleError where its sides are not 178 to 218."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError):
        raise BruleError(f"{path.name}: is no image that can be read; replace or remove the file") from None
    scale = width / CELEBA_SIZE[0]
    if abs(height / CELEBA_SIZE[1] / scale - 1) > 0.02:
        raise BruleError(f"{path.name}: is {width}x{height}, not CelebA's aligned 178x218; give img_align_celeba")
    return Square(*(value * scale for value in CELEBA_CROP))


def _points(image: Path) -> Path | None:
    for suffix in (".pts", ".PTS"):
        if (beside := image.with_suffix(suffix)).is_file():
            return beside
    return None


def _part(folders: Sequence[str]) -> Part | None:
    path = "/" + "/".join(folder.lower() for folder in folders) + "/"
    return next((part for part in PARTS if f"/{part.name}/" in path), None)


@dataclass(frozen=True)
class Record:
    """An image of data/raw, with paths relative to it."""

    image: str
    points: str | None
    group: str
    split: str | None
    """train, validation, test; None: to be chosen by `prepare`."""
    extra: bool
    """Only an image for training: its landmarks frame the crop, and are never passed on."""
    crop: Square | None
    """The square to cut where no landmarks frame it."""
