"""The layout of each kind of data set: from a folder to its images, with landmarks, photo group, split and crop."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brule.data import photos
from brule.data.crop import SUFFIXES, Square
from brule.errors import BruleError
from brule.terminal import track

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Found:
    """An image of a data set, at its present place."""

    image: Path
    name: str
    """Its path within the source, with forward slashes."""
    group: str
    """Images of one group show the same photo: no split separates them."""
    points: Path | None = None
    split: Split | None = None
    crop: Square | None = None


@dataclass(frozen=True)
class Record:
    """An image in data/raw as the manifest describes it, with paths relative to data/raw.

    `download` writes it, `prepare` reads it.
    """

    image: str
    points: str | None
    group: str
    split: Split | None
    """None: `prepare` chooses."""
    extra: bool
    """An image for training without landmarks. Its landmarks, if any, frame the crop and are never passed on."""
    crop: Square | None
    """The square to cut, if no landmarks frame it."""


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
"""The 68-point set from iBUG's page of facial point annotations. The more specific paths come first."""

CELEBA_SIZE = (178, 218)
CELEBA_CROP = Square(88.6, 135.0, 123.2)
"""The square that frames an aligned CelebA face the way 300-W's landmark boxes frame theirs (measured)."""


KINDS = {
    **dict.fromkeys((".gif",), "GIF"),
    **dict.fromkeys((".heic", ".heif"), "HEIC"),
    **dict.fromkeys((".avif", ".jxl", ".jp2", ".tga", ".ppm", ".pgm"), "of a rarer format"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf"), "raw"),
    **dict.fromkeys((".dcm",), "DICOM"),
    **dict.fromkeys((".svg", ".pdf", ".eps", ".psd"), "drawings"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "videos"),
}
"""Files that a user may take for photos and the pipeline does not, by suffix."""
HIDDEN = "hidden"


def _everything(root: Path) -> list[Path]:
    """Every file below a folder, in a fixed order. Raises BruleError naming a folder that cannot be read."""

    def refused(error: OSError) -> None:
        reason = (error.strerror or "refused").lower()
        raise BruleError(f"{error.filename}: the folder cannot be read ({reason}); change its permissions")

    return sorted(Path(place, name) for place, _, names in os.walk(root, onerror=refused) for name in names)


def visible(root: Path) -> Iterator[Path]:
    """Every file below a folder, in a fixed order. Hidden files and macOS's shadow copies are skipped."""
    for path in _everything(root):
        shadow = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts)
        if not shadow and path.is_file():
            yield path


def images(root: Path) -> Iterator[Path]:
    """The image files among these."""
    return (path for path in visible(root) if path.suffix.lower() in SUFFIXES)


def passed_over(root: Path, found: Collection[Path]) -> dict[str, int]:
    """How many files of each kind below a folder are not among the images that were found."""
    kinds: Counter[str] = Counter()
    for path in _everything(root):
        suffix = path.suffix.lower()
        if path not in found and path.is_file() and (suffix in SUFFIXES or suffix in KINDS):
            kinds[HIDDEN if suffix in SUFFIXES else KINDS[suffix]] += 1
    return dict(kinds)


def tally(passed: Mapping[str, int]) -> str:
    """3 GIF, 1 hidden; and what to do about it."""
    counts = ", ".join(f"{count} {kind}" for kind, count in passed.items())
    return counts if set(passed) <= {HIDDEN} else f"{counts}; convert what you need to JPEG or PNG"


def scan_folder(roots: Sequence[Path]) -> list[Found]:
    """The user's own images. An image is labelled if a `.pts` of the same name lies beside it.

    Each file is its own photo group, and equal files are joined later: a user's `image_1` and `image_2` are usually
    different photos, unlike 300-W's.
    """
    found = []
    for root in roots:
        for image in images(root):
            name = image.relative_to(root).as_posix()
            found.append(Found(image, name, group=name, points=points_beside(image)))
    return found


def scan_300w(roots: Sequence[Path]) -> list[Found]:
    """300-W in its official layout, whole or in part, below any folders. Images without a `.pts` are left out.

    Prints which of the official 3148 training and 689 test images are missing.
    """
    found = []
    for root in roots:
        for image in images(root):
            points, part = points_beside(image), _part((root.name, *image.relative_to(root).parent.parts))
            # dlib's edition of the set adds mirrored copies, called `_mirror`.
            if points and part and not image.stem.endswith("_mirror"):
                photo = re.sub(r"_\d{1,2}$", "", image.stem)
                found.append(Found(image, f"{part.name}/{image.name}", f"{part.name}/{photo}", points, part.split))
    counts = Counter(each.name.rpartition("/")[0] for each in found)
    shown = (f"{part.name} {counts[part.name]} of {part.count}" for part in PARTS if counts[part.name] < part.count)
    if missing := ", ".join(shown):
        print(f"This copy of 300-W is incomplete, which is fine: {missing}.")
    return found


def scan_celeba(roots: Sequence[Path]) -> list[Found]:
    """CelebA's aligned images (`img_align_celeba`) at any scale, each with the crop that matches 300-W's."""
    files = [(root, image) for root in roots for image in images(root)]
    found = []
    for root, image in track(files, "Reading sizes", len(files)):
        name = image.relative_to(root).as_posix()
        found.append(Found(image, name, group=name, crop=celeba_crop(image)))
    return found


def celeba_crop(path: Path) -> Square:
    """The crop of an aligned image at any scale. Raises BruleError if its sides are not in the ratio 178 to 218."""
    width, height = photos.size(path)
    scale = width / CELEBA_SIZE[0]
    if abs(height / CELEBA_SIZE[1] / scale - 1) > 0.02:
        raise BruleError(f"{path.name}: is {width}x{height}, not CelebA's aligned 178x218; give img_align_celeba")
    return Square(*(value * scale for value in CELEBA_CROP))


def points_beside(image: Path) -> Path | None:
    """The landmarks of an image, in a `.pts` of the same name."""
    for suffix in (".pts", ".PTS"):
        if (beside := image.with_suffix(suffix)).is_file():
            return beside
    return None


def _part(folders: Sequence[str]) -> Part | None:
    path = "/" + "/".join(folder.lower() for folder in folders) + "/"
    return next((part for part in PARTS if f"/{part.name}/" in path), None)
