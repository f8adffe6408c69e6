"""A few photos to start with: the user's own, some of the test split, or rendered faces. None is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from brule import files
from brule.app.reduced import jpeg
from brule.data import photos, prepared
from brule.data.crop import SUFFIXES, Pixels, Square, around, cut, cut_file
from brule.data.pts import read_pts
from brule.data.schemes import IBUG68
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.synthetic import render

COUNT = 8
RAW = Path("data/raw")
_SIDE = 384
_THUMBNAIL = 192
_UNSEEN = 2 * 10**8  # from this number on the rendered faces are test faces, see data.rendering


@dataclass(frozen=True)
class Sample:
    """A photo that the page offers to try."""

    name: str
    data: bytes
    """An image file."""
    thumbnail: bytes
    """A JPEG."""


def offered(detector: Detector, folder: Path | None) -> list[Sample]:
    """At most COUNT samples: photos in `folder`, if one is given; else photos of the test split, cut out like the
    training crops; else rendered faces, if the detector is one of faces.

    Raises BruleError if `folder` holds no photos, or one that cannot be read.
    """
    if folder is not None:
        return _own(folder)
    tested = _tested(detector)
    return tested if tested or detector.scheme != IBUG68 else list(rendered(detector))


def _own(folder: Path) -> list[Sample]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise BruleError(f"{folder}: there are no photos in this folder; give --samples a folder of photos")
    return [Sample(files.shown(Path(path.name)), path.read_bytes(), _thumbnail(path)) for path in found[:COUNT]]


def _thumbnail(path: Path) -> bytes:
    with photos.picture(path, str(path), None, _THUMBNAIL) as read:
        return jpeg(read.image, _THUMBNAIL)


def _tested(detector: Detector) -> list[Sample]:
    """Photos in data/raw that belong to the test split.

    None if there are no data, if they have other landmarks than the detector's, or if they are rendered faces:
    `rendered` draws those larger.
    """
    try:
        manifest = prepared.read_manifest(RAW / "manifest.json", "")
        index = prepared.load(prepared.CROPS, "test", labels=False).index
        if manifest["source"] == "synthetic" or prepared.load_scheme(prepared.CROPS) != detector.scheme:
            return []
        records = {record["image"]: record for record in manifest["records"]}
        chosen = [records[name] for name in index["name"].iloc[_spread(len(index))]]
        return [_sample(Path(one["image"]).name, _cut(one, detector)) for one in chosen]
    except (BruleError, KeyError):  # the page works without samples
        return []


def _cut(record: dict[str, Any], detector: Detector) -> Pixels:
    square = Square(*record["crop"]) if record["crop"] else None
    if record["points"]:
        square = around(read_pts(RAW / record["points"]), *detector.framing)
    return cut_file(RAW / record["image"], square, _SIDE)


def rendered(detector: Detector) -> Iterator[Sample]:
    """Faces that no default run has trained on, cut out like the training crops."""
    for index in range(COUNT):
        picture, points = render(0, _UNSEEN + index, _SIDE)
        pixels = cut(Image.fromarray(picture), around(points, *detector.framing), _SIDE)
        yield _sample(f"rendered-{index + 1}.jpg", pixels)


def _sample(name: str, pixels: Pixels) -> Sample:
    image = Image.fromarray(pixels)
    return Sample(f"{Path(name).stem}.jpg", jpeg(image, _SIDE), jpeg(image, _THUMBNAIL))


def _spread(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(COUNT, count)).round().astype(int).tolist()))
