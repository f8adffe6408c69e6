"""What lies in a folder of photos, and how large the object stands in them: known before anything is trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, sobel

from brule.data import photos
from brule.data.crop import Pixels, centred, cut_picture
from brule.data.inspection import inspect
from brule.data.labels import Labels, Points
from brule.data.layouts import Found, passed_over, scan_folder
from brule.data.matching import Images, label
from brule.data.pts import read_pts
from brule.errors import BruleError

LOOKED_AT = 200
"""Photos from which the share of the square is estimated."""
SIDE = 64
"""Pixels of these small looks."""


@dataclass(frozen=True, eq=False)
class Photos:
    """The photos of a folder, as the `download` stage finds them."""

    found: tuple[Found, ...]
    sizes: npt.NDArray[np.int64]
    """(N, 2) width and height in pixels, upright."""
    landmarks: Mapping[int, Points]
    """By the number of the photo: its landmarks (K, 2) in pixels, from the `.pts` beside it or a file of labels."""
    passed: Mapping[str, int]
    """How many files of each kind are passed over."""
    looks: Pixels
    """(n, SIDE, SIDE, 3) the largest centred squares of at most LOOKED_AT photos."""


def survey(folder: Path) -> Photos:
    """Decode every photo once, and read its landmarks. Raises BruleError if there is none, or some cannot be read."""
    found = scan_folder([folder])
    passed = passed_over(folder, {each.image for each in found})
    if not found:
        beside = f" (only {', '.join(f'{count} {kind}' for kind, count in passed.items())})" if passed else ""
        raise BruleError(f"{folder}: holds no photo{beside}; give .jpg, .png, .bmp, .webp or .tif")
    kept = set(np.linspace(0, len(found) - 1, min(LOOKED_AT, len(found))).round().astype(int).tolist())

    def look(number: int, path: Path) -> tuple[tuple[int, int], Pixels | None]:
        with photos.read(path, None, SIDE) as picture:
            return picture.size, cut_picture(picture, None, SIDE) if number in kept else None

    seen, landmarks = inspect(found, look)
    looks = np.stack([pixels for _, pixels in seen if pixels is not None])
    return Photos(tuple(found), np.array([size for size, _ in seen]), landmarks, passed, looks)


def labelled(seen: Photos, location: str, workspace: Path, key: str) -> tuple[Photos, Labels]:
    """The photos with the landmarks that a file of labels has of them, and what it holds. See `matching.label`."""
    found, labels = label(seen.found, location, workspace, key)
    landmarks = {number: read_pts(each.points) for number, each in enumerate(found) if each.points}
    return replace(seen, found=tuple(found), landmarks=landmarks), labels


# How large the object stands in the largest centred square.


class Frame(NamedTuple):
    """The proposed `prepare.crop_fill` and `prepare.crop_lift`, and where they come from."""

    fill: float
    lift: float
    measured: int
    """Photos whose landmarks they were measured on. 0: they are an estimate."""
    outside: int
    """Of these, photos some of whose landmarks lie outside the largest centred square."""


FILLS = (0.11, 1.0)
"""What `prepare.crop_fill` may be."""
LIFTS = (-1.0, 1.0)
"""What `prepare.crop_lift` may be."""
SPREAD = 2.5
"""Width of the landmarks' box over the standard deviation of the places of edges. See `estimated_fill`."""
RIM = 0.92
"""A box that reaches from rim to rim of the photo would leave no room for an object; this much of it is usual."""


def proposed(seen: Photos, labels: Labels) -> Frame:
    """Measured on photos with landmarks, their own or those that the shapes tell; else estimated from the photos."""
    known = [(points, seen.sizes[number]) for number, points in seen.landmarks.items()] or _told(seen, labels)
    if not known:
        return Frame(round(estimated_fill(seen.looks, _aspect(labels.points), _tallest(seen.sizes)), 2), 0.0, 0, 0)
    fills, lifts, outside = zip(*(_stand(points, size) for points, size in known), strict=True)
    fill, lift = float(np.clip(np.median(fills), *FILLS)), float(np.clip(np.median(lifts), *LIFTS))
    return Frame(round(fill, 2), round(lift, 2) or 0.0, len(known), sum(outside))


def _told(seen: Photos, labels: Labels) -> list[tuple[Points, Sequence[int]]]:
    """The landmarks of images whose size the shapes tell, or that are among the photos."""
    if labels.sizes:
        return list(zip(labels.points, labels.sizes, strict=True))
    numbers = named(seen, labels)
    return [(points, seen.sizes[k]) for points, k in zip(labels.points, numbers, strict=False) if k >= 0]


def named(seen: Photos, labels: Labels) -> list[int]:
    """The number of the photo that each shape names as its image. -1: none, or several. Empty: they name no images."""
    images, numbers = Images(seen.found), {each.name: number for number, each in enumerate(seen.found)}
    found = (images.candidates(name) for name in labels.images)
    return [numbers[each[0].name] if len(each) == 1 else -1 for each in found]


def _stand(points: Points, size: Sequence[int]) -> tuple[float, float, bool]:
    """Landmarks (K, 2) in pixels → their share of the centred square, its lift, whether any lies outside it."""
    square = centred(*size)
    low, high = points.min(0), points.max(0)
    width = max(float(high[0] - low[0]), 1e-6)
    beyond = np.abs((points + 0.5 - [square.x, square.y]) / square.side).max() > 0.5
    return width / square.side, ((low[1] + high[1]) / 2 + 0.5 - square.y) / width, bool(beyond)


def _aspect(shapes: Points) -> float:
    """Height over width of the shapes' boxes, the median."""
    spans = np.ptp(shapes, axis=1)
    return float(np.median(spans[:, 1] / np.maximum(spans[:, 0], 1e-9)))


def _tallest(sizes: npt.NDArray[np.int64]) -> float:
    """Height of the photos over the side of their largest square, the median."""
    return float(np.median(sizes[:, 1] / sizes.min(1)))


def estimated_fill(looks: Pixels, aspect: float, tallest: float) -> float:
    """The landmarks' share of the square's width, from photos (n, S, S, 3) alone; never more than fits into a photo.

    An object that is photographed again and again has its edges where it stands, while the background's are anywhere.
    So the mean gradient over the photos, above its 30 % quantile, is spread as wide as the object, and its standard
    deviation in x, times SPREAD, is the width. It says nothing of whether the landmarks mark all of the object.
    aspect: height over width of the shapes. tallest: height of the photos over the square's side.
    """
    grey = looks.astype(np.float64).mean(-1)
    grey -= grey.mean((1, 2), keepdims=True)
    grey /= grey.std((1, 2), keepdims=True) + 1
    smooth = gaussian_filter(grey, (0, 1, 1))
    gradient = gaussian_filter(np.hypot(sobel(smooth, 2), sobel(smooth, 1)).mean(0), 1.5)
    weight = np.clip(gradient - np.quantile(gradient, 0.3), 0, None)
    x = (np.arange(looks.shape[2]) + 0.5) / looks.shape[2]
    columns = weight.sum(0) + 1e-12  # of blank photos: everywhere alike
    middle = np.average(x, weights=columns)
    spread = math.sqrt(np.average((x - middle) ** 2, weights=columns))
    return float(np.clip(min(SPREAD * spread, RIM * tallest / aspect), *FILLS))
