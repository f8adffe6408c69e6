"""data/raw → data/faces: one crop protocol, one split, arrays that map straight into memory."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule import config, files
from brule.data.crop import Pixels, Square, around, cut_file, to_units
from brule.data.faces import read_manifest
from brule.data.landmarks import Points, read_pts, read_shapes
from brule.data.layouts import Split
from brule.data.progress import track
from brule.data.records import Record
from brule.data.schemes import Scheme
from brule.data.splits import assign, photo_groups
from brule.errors import BruleError

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_DOWNLOAD = "run the download stage again"
BLOCK = 512
"""Images in flight: bounds the memory whatever the data set's size."""


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


def prepare(
    raw: Path, destination: Path, prepare: config.Prepare, seed: int, normaliser: tuple[int, int] | None = None
) -> dict[str, int]:
    """Cut every image of `raw` into `destination`: per split images, landmarks and index; the shapes; a manifest.

    The square comes from the landmark box; for an unlabelled image from its record's crop, or else it is the largest
    one in the middle. `normaliser` replaces the scheme's own pair. All or nothing. Returns the counts. Raises
    BruleError naming the file.
    """
    manifest = read_manifest(raw / "manifest.json", _DOWNLOAD)
    faces = _framed(raw, _records(manifest, raw), prepare, seed)
    instead = bool(manifest["extra"]) and manifest["extra"]["use"] == "instead"
    kept, lenders = _chosen(faces, prepare.limit, seed, instead)
    names, shapes = _shapes(raw, manifest, lenders, prepare)
    _check_counts(raw, kept, shapes.shape[1])
    scheme = _scheme(manifest, names, shapes.shape[1], normaliser)
    counts = _counts(kept) | {"shapes": len(shapes)}
    with files.folder(destination) as folder:
        files.save_array(folder / "shapes.npy", _canonical(shapes))
        for split in SPLITS:
            part = [face for face in kept if face.split == split]
            _write(folder / split, raw, part, prepare.image_size, shapes.shape[1])
        summary = {"scheme": scheme.to_json(), "image_size": prepare.image_size, "counts": counts}
        files.write_json(
            folder / "manifest.json", summary | {key: manifest[key] for key in ("source", "licence", "extra")}
        )
    return counts


def _records(manifest: dict[str, Any], raw: Path) -> list[Record]:
    try:
        return [
            Record(**{**record, "crop": Square(*record["crop"]) if record["crop"] else None})
            for record in manifest["records"]
        ]
    except (KeyError, TypeError):
        raise BruleError(f"{raw / 'manifest.json'}: is damaged; {_DOWNLOAD}") from None


def _framed(raw: Path, records: Sequence[Record], prepare: config.Prepare, seed: int) -> list[Face]:
    """Split and square of every image that is used."""
    groups = photo_groups(raw, records)
    splits = assign(records, groups, {"validation": prepare.validation, "test": prepare.test}, seed)
    faces = []
    for record, group, split in zip(records, groups, splits, strict=True):
        if split is None:
            continue
        square, units = record.crop, None
        if record.points:
            path = raw / record.points
            points = read_pts(path)
            square, units = _frame(points, prepare, path)
        faces.append(Face(record, group, split, square, None if record.extra else units))
    return faces


def _frame(points: Points, prepare: config.Prepare, origin: object) -> tuple[Square, Points]:
    try:
        square = around(points, prepare.crop_fill, prepare.crop_lift)
    except BruleError as error:
        raise BruleError(f"{origin}: {error}") from None
    return square, to_units(points, square)


def _chosen(faces: Sequence[Face], limit: int | None, seed: int, instead: bool) -> tuple[list[Face], list[Face]]:
    """The images kept, at most `limit` of a split; and as many training images of the source that lend their shapes.

    They lend them also where extra images come in their place.
    """
    order = np.random.default_rng([seed, 2]).permutation(len(faces)) if limit else np.arange(len(faces))
    kept: list[int] = []
    for split in SPLITS:
        members = [i for i in order if faces[i].split == split]
        if split == "train" and instead:
            members = [i for i in members if faces[i].record.extra]
        kept += members[:limit]
    if not any(faces[i].split == "train" for i in kept):
        raise BruleError("prepare: no training image is left; give more images, or smaller validation and test shares")
    lenders = [faces[i] for i in order if faces[i].split == "train" and faces[i].landmarks is not None]
    return [faces[i] for i in sorted(kept)], lenders[:limit]


def _shapes(
    raw: Path, manifest: dict[str, Any], lenders: Sequence[Face], prepare: config.Prepare
) -> tuple[list[str] | None, Points]:
    """Names and unpaired shapes (M, K, 2) in crop units: those of `data.shapes`, else the training part's own."""
    if manifest["shapes"]:
        path = raw / manifest["shapes"]
        names, shapes = read_shapes(path)
        return names, np.stack([_frame(shape, prepare, f"{path}: shape {i}")[1] for i, shape in enumerate(shapes)])
    if not lenders:
        raise BruleError(
            "data.shapes: is empty and no training image has landmarks; give a few shapes (.pts, CSV, JSON)"
        )
    own = [face.landmarks for face in lenders if face.landmarks is not None]
    _check_counts(raw, lenders, len(own[0]))
    return None, np.stack(own)


def _check_counts(raw: Path, faces: Sequence[Face], landmarks: int) -> None:
    for face in faces:
        if face.landmarks is not None and len(face.landmarks) != landmarks:
            path = raw / str(face.record.points)
            raise BruleError(
                f"{path}: has {len(face.landmarks)} landmarks but the shapes have {landmarks}; make them agree"
            )


def _canonical(shapes: Points) -> npt.NDArray[np.float32]:
    """Sorted lexicographically, so that the order tells of no image which shape was its own."""
    flat = shapes.astype(np.float32).reshape(len(shapes), -1)
    order = np.lexsort(flat.T[::-1])
    return shapes.astype(np.float32)[order]


def _scheme(
    manifest: dict[str, Any], names: list[str] | None, landmarks: int, normaliser: tuple[int, int] | None
) -> Scheme:
    known = Scheme.from_json(manifest["scheme"]) if manifest["scheme"] and names is None else None
    scheme = known if known and len(known.names) == landmarks else Scheme.of(landmarks, names)
    if normaliser is None:
        return scheme
    if max(normaliser) >= landmarks or normaliser[0] == normaliser[1]:
        raise BruleError(
            f"data.normaliser: {list(normaliser)} is no pair of the {landmarks} landmarks; name two of them"
        )
    return Scheme(scheme.names, scheme.flip, normaliser, scheme.edges)


def _write(folder: Path, raw: Path, faces: Sequence[Face], size: int, landmarks: int) -> None:
    folder.mkdir()
    with (folder / "images.npy").open("wb") as stream:
        # Written block by block, not through a memory map: a full disk then is an error, not a crash.
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(faces), size, size, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        for pixels in track(_cut(raw, faces, size), f"Cutting {folder.name}", len(faces)):
            stream.write(pixels.tobytes())
    points = np.full((len(faces), landmarks, 2), np.nan, dtype=np.float32)
    for row, face in zip(points, faces, strict=True):
        if face.landmarks is not None:
            row[:] = face.landmarks
    files.save_array(folder / "landmarks.npy", points)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "source", "group", "labelled", "extra"])
    for face in faces:
        record = face.record
        source = record.image.split("/")[1 if record.extra else 0]
        writer.writerow([record.image, source, face.group, int(face.landmarks is not None), int(record.extra)])
    files.write_text(folder / "index.csv", table.getvalue())


def _cut(raw: Path, faces: Sequence[Face], size: int) -> Iterator[Pixels]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL lets go of the interpreter while it decodes and resamples
        for start in range(0, len(faces), BLOCK):
            yield from pool.map(
                lambda face: cut_file(raw / face.record.image, face.square, size), faces[start : start + BLOCK]
            )


def _counts(faces: Sequence[Face]) -> dict[str, int]:
    counts = {split: sum(face.split == split for face in faces) for split in SPLITS}
    labelled = sum(face.landmarks is not None for face in faces)
    return counts | {"labelled": labelled, "extra": sum(face.record.extra for face in faces)}
