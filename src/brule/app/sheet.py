"""Photos, the points that somebody clicks on them, and the file that keeps the points: shapes.json.

The file is one that `data.forms.own_json` reads. A photo on which some points are still missing is no shape yet:
it stands under "drafts", [{"image", "size", "points": [[x, y] or null, ...]}, ...], which nothing else reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from brule import files
from brule.app.reduced import jpeg
from brule.data import photos
from brule.data.forms import labelme, own_json
from brule.data.labels import Labels, Points
from brule.data.schemes import Scheme
from brule.documents import parse_json, read_text
from brule.errors import BruleError, quoted

MOST = 500
"""Points on a photo, at most."""
SHOWN = 2560
"""Pixels of the longer side of a photo as the page gets it, at most. The points are in the photo's own pixels."""
_THUMBNAIL = 192
_LONGEST_NAME = 80
_FARTHEST = 1e6  # pixels


@dataclass(frozen=True)
class Photo:
    """A photo to click on, or one that only the file knows."""

    name: str
    """What the file calls it."""
    size: tuple[int, int] | None
    """Width and height as displayed. None: only the file knows the photo, and does not tell."""
    path: Path | None = None
    """None: only the file knows the photo. Its shape is kept, but it is not shown."""
    thumbnail: bytes = b""
    """A JPEG."""


@dataclass(frozen=True)
class Record:
    """What the file says of one photo."""

    image: str
    size: tuple[int, int] | None
    points: Points
    """(K, 2), NaN where a point is missing."""


class StaleError(BruleError):
    """The page was made from another file, or for other photos."""


def opened(path: Path, name: str) -> Photo:
    """A photo to click on. Raises BruleError naming the path if it cannot be read."""
    with photos.picture(path, str(path), None, _THUMBNAIL) as read:
        return Photo(name, read.size, path, jpeg(read.image, _THUMBNAIL))


def recorded(path: Path) -> tuple[Scheme | None, list[Record]]:
    """What a file of shapes says so far; its drafts come last. Without a file: nothing.

    Raises BruleError if it cannot be continued: it is another kind of file, or does not name the photos.
    """
    if not path.exists():
        return None, []
    raw = parse_json(read_text(path), path)
    if not isinstance(raw, dict) or not isinstance(raw.get("shapes"), list) or labelme.recognised(raw):
        raise BruleError(f"{path}: is another kind of file, which would be lost; give another one as --out")
    drafts = raw.get("drafts", [])
    if not isinstance(drafts, list):
        raise BruleError(f"{path}: drafts is not a list of half-done photos; correct or remove it")
    records: list[Record] = []
    if raw.get("shapes") == []:  # nothing whole yet
        scheme = _scheme(raw, path)
    else:
        labels = own_json.read(path)
        if not labels.images:
            raise BruleError(f"{path}: does not name the photo of each shape; give another file as --out")
        scheme = labels.scheme or Scheme.of(labels.points.shape[1])
        _scheme(own_json.mapping(replace(labels, scheme=scheme)), path)  # what `save` would refuse, `opened` refuses
        for image, points in zip(labels.images, labels.points, strict=True):
            _points(points.tolist(), len(scheme.names), f"{path}: the shape of {image}")
        sizes = labels.sizes or [None] * len(labels.images)
        records = [Record(*of) for of in zip(labels.images, sizes, labels.points, strict=True)]
    return scheme, records + [_draft(one, scheme, path) for one in drafts]


class Sheet:
    """The photos and what has been clicked on them. The file is its only memory."""

    def __init__(self, out: Path, given: Sequence[Photo]) -> None:
        """Raises BruleError if `out` exists and cannot be continued with these photos."""
        self.out, self._given = out, given
        self.photos: list[Photo] = []
        self._shapes: list[Points | None] = []
        self._scheme: Scheme | None = None
        self._revision = ""
        self._read()

    def told(self) -> dict[str, Any]:
        """All that the page shows, as it is in the file now."""
        if _revision(self.out) not in ("", self._revision):
            self._read()
        shown = [{"name": one.name, "size": one.size, "shown": one.path is not None} for one in self.photos]
        scheme: dict[str, Any] = {"names": [], "edges": [], "pairs": [], "normaliser": None}
        if self._scheme:
            labels = Labels(np.empty((0, len(self._scheme.names), 2)), self._scheme)
            scheme |= {key: value for key, value in own_json.mapping(labels).items() if key in scheme}
        shapes = [None if points is None else _rows(points) for points in self._shapes]
        return {**scheme, "shapes": shapes, "photos": shown, "most": MOST, **self._state()}

    def save(self, data: bytes) -> dict[str, Any]:
        """Write what the page sends: names, edges, pairs, normaliser, shapes (one for each photo, null if it has no
        point; of K points, null where one is missing), and the revision that the page had before.

        Raises BruleError, and writes nothing, if one of them is not valid; StaleError if somebody else has written the
        file, or if the page shows other photos.
        """
        raw = _question(data)
        if raw.get("revision") != self._token or _revision(self.out) not in ("", self._revision):
            raise StaleError(
                f"{self.out} was changed elsewhere, perhaps in another tab, or for other photos, so nothing was saved; "
                "reload this page"
            )
        scheme = _scheme(raw, "the request")
        count, told = len(scheme.names) if scheme else 0, raw.get("shapes")
        if not isinstance(told, list) or len(told) != len(self.photos):
            raise BruleError(
                f"the request: shapes is not one for each of the {len(self.photos)} photos; reload this page"
            )
        shapes = [
            None if one is None else _points(one, count, photo.name)
            for one, photo in zip(told, self.photos, strict=True)
        ]
        files.write_json(self.out, _file(scheme, self.photos, shapes))
        self._scheme, self._shapes, self._revision = scheme, shapes, _revision(self.out)
        return self._state()

    def picture(self, index: int) -> bytes:
        """A photo, upright, as a JPEG. Raises BruleError if it can no longer be read, IndexError if it is not shown."""
        path = self.photos[index].path
        if path is None:
            raise IndexError(index)
        return _picture(path)

    def _state(self) -> dict[str, Any]:
        whole = [points is not None and bool(np.isfinite(points).all()) for points in self._shapes]
        begun = sum(points is not None and bool(np.isfinite(points).any()) for points in self._shapes)
        return {"out": str(self.out), "revision": self._token, "whole": sum(whole), "drafts": begun - sum(whole)}

    @property
    def _token(self) -> str:
        """What a page was made from: the file, and the photos in their order."""
        known = [self._revision, *((photo.name, photo.size) for photo in self.photos)]
        return files.sha(json.dumps(known).encode())

    def _read(self) -> None:
        revision, (scheme, records) = _revision(self.out), recorded(self.out)
        places = {photo.name: index for index, photo in enumerate(self._given)}
        known = list(self._given)
        shapes: list[Points | None] = [None] * len(known)
        for record in records:
            index = places.pop(record.image, None)
            if index is None:
                known.append(Photo(record.image, record.size))
                shapes.append(record.points)
                continue
            photo = known[index]
            if record.size not in (None, photo.size):
                raise BruleError(
                    f"{self.out}: {record.image} had {_times(record.size)} pixels when it was clicked, but now has "
                    f"{_times(photo.size)} ({photo.path}); give the photo of then, or another --out"
                )
            shapes[index] = record.points
        self.photos, self._shapes, self._scheme, self._revision = known, shapes, scheme, revision


def _file(scheme: Scheme | None, known: Sequence[Photo], shapes: Sequence[Points | None]) -> dict[str, Any]:
    """What the file holds, as plain values."""
    if scheme is None:
        return {"names": [], "shapes": []}
    begun = [(one, points) for one, points in zip(known, shapes, strict=True) if points is not None]
    begun = [(one, points) for one, points in begun if np.isfinite(points).any()]
    whole = [(one, points) for one, points in begun if np.isfinite(points).all()]
    sizes = tuple(one.size for one, _ in whole if one.size)
    labels = Labels(
        np.array([points for _, points in whole]).reshape(-1, len(scheme.names), 2),
        scheme,
        tuple(one.name for one, _ in whole),
        sizes if len(sizes) == len(whole) else (),
    )
    drafts = [
        {"image": one.name, "size": one.size, "points": _rows(points)}
        for one, points in begun
        if not np.isfinite(points).all()
    ]
    return own_json.mapping(labels) | ({"drafts": drafts} if drafts else {})


def _scheme(raw: dict[str, Any], where: Path | str) -> Scheme | None:
    """The scheme of K landmarks; None for K = 0."""
    names = raw.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BruleError(f"{where}: names is not a list of words; give each point a name")
    if len(names) > MOST:
        raise BruleError(f"{where}: has {len(names)} points; use at most {MOST}")
    seen: set[str] = set()
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise BruleError(f"{where}: {quoted(name)} is not a name; use 1 to {_LONGEST_NAME} plain characters")
        if name.strip() in seen:
            raise BruleError(f"{where}: two points are called {quoted(name.strip())}; give each a name of its own")
        seen.add(name.strip())
    return own_json.scheme_of(raw, len(names), where) if names else None


def _points(value: Any, count: int, name: str) -> Points:
    """(K, 2), NaN where a point is missing."""
    if not isinstance(value, list) or len(value) != count:
        told = f"{len(value)} points" if isinstance(value, list) else "no list of points"
        raise BruleError(f"{name}: has {told}, but there are {count} names; give one for each name, or null")
    points = np.full((count, 2), np.nan)
    for index, point in enumerate(value):
        if point is not None:
            pair = point if isinstance(point, list) else []
            if len(pair) != 2 or not all(type(number) in (int, float) and abs(number) < _FARTHEST for number in pair):
                raise BruleError(f"{name}: {quoted(point)} is not a place in a photo; give x and y in pixels, or null")
            points[index] = pair
    return points


def _draft(raw: Any, scheme: Scheme | None, path: Path) -> Record:
    image, size = (raw.get("image"), raw.get("size")) if isinstance(raw, dict) else (None, None)
    if not isinstance(image, str):
        raise BruleError(f"{path}: a draft does not name its image; correct or remove it")
    sides = size if isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size) else None
    points = _points(raw.get("points"), len(scheme.names) if scheme else 0, f"{path}: the draft of {image}")
    return Record(image, (sides[0], sides[1]) if sides else None, points)


def _question(data: bytes) -> dict[str, Any]:
    raw = None
    with suppress(BruleError):
        raw = parse_json(data, "the request")
    if not isinstance(raw, dict):
        raise BruleError('the request is not valid; send {"names": [...], "shapes": [...], "revision": "..."}')
    return raw


def _rows(points: Points) -> list[list[float] | None]:
    return [point if np.isfinite(point).all() else None for point in points.tolist()]


def _revision(path: Path) -> str:
    """What is in the file, in a few digits. "": there is no file."""
    try:
        return files.sha(path.read_bytes())
    except FileNotFoundError:
        return ""


@lru_cache(maxsize=4)
def _picture(path: Path) -> bytes:
    with photos.picture(path, str(path), None, SHOWN) as read:
        return jpeg(read.image, SHOWN)


def _times(size: tuple[int, int] | None) -> str:
    return " × ".join(map(str, size or ()))
