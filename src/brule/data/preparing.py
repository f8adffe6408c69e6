"""data/raw → data/faces: one crop protocol, one split, arrays that map straight into memory."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule import config, files
from brule.data.choosing import SPLITS, check, choose
from brule.data.crop import Pixels, Square, cut_file
from brule.data.faces import read_manifest
from brule.data.framing import Face, frame, framed
from brule.data.labelled import listed
from brule.data.landmarks import Points, read_shapes
from brule.data.progress import track
from brule.data.records import Record
from brule.data.schemes import Scheme
from brule.errors import BruleError

_DOWNLOAD = "run the download stage again"
BLOCK = 512
"""Images in flight: bounds the memory whatever the data set's size."""


def prepare(
    raw: Path, destination: Path, prepare: config.Prepare, seed: int, normaliser: tuple[int, int] | None = None
) -> dict[str, int]:
    """Cut every image of `raw` into `destination`: per split images, landmarks and index; the shapes; a manifest.

    The square comes from the landmark box, whoever may see the landmarks; for an unlabelled image from its record's
    crop, or else it is the largest one in the middle. `prepare.labelled` is counted from the working directory.
    `normaliser` replaces the scheme's own pair. All or nothing. Returns the counts. Raises BruleError naming the file.
    """
    manifest = read_manifest(raw / "manifest.json", _DOWNLOAD)
    records = _records(manifest, raw)
    instead = bool(manifest["extra"]) and manifest["extra"]["use"] == "instead"
    labelled = listed(Path(prepare.labelled), records) if prepare.labelled else set()
    check(prepare, labelled, bool(manifest["shapes"]), instead)
    kept, lenders = choose(framed(raw, records, prepare, seed, labelled), prepare, seed, instead, labelled)
    names, shapes = _shapes(raw, manifest, lenders, prepare)
    _check_counts(raw, kept, shapes.shape[1])
    scheme = _scheme(manifest, names, shapes.shape[1], normaliser)
    counts = _counts(kept) | {"shapes": len(shapes)}
    with files.folder(destination) as folder:
        files.save_array(folder / "shapes.npy", _canonical(shapes))
        for split in SPLITS:
            part = [face for face in kept if face.split == split]
            _write(folder / split, raw, part, prepare.image_size, shapes.shape[1])
        summary = {"scheme": scheme.to_json(), "counts": counts}
        summary |= prepare.model_dump(include={"image_size", "labelled", "halves"})
        summary |= {key: manifest[key] for key in ("source", "licence", "extra")}
        files.write_json(folder / "manifest.json", summary)
    return counts


def _records(manifest: dict[str, Any], raw: Path) -> list[Record]:
    try:
        return [
            Record(**{**record, "crop": Square(*record["crop"]) if record["crop"] else None})
            for record in manifest["records"]
        ]
    except (KeyError, TypeError):
        raise BruleError(f"{raw / 'manifest.json'}: is damaged; {_DOWNLOAD}") from None


def _shapes(
    raw: Path, manifest: dict[str, Any], lenders: Sequence[Face], prepare: config.Prepare
) -> tuple[list[str] | None, Points]:
    """Names and unpaired shapes (M, K, 2) in crop units: those of `data.shapes`, else the training part's own."""
    if manifest["shapes"]:
        path = raw / manifest["shapes"]
        names, shapes = read_shapes(path)
        return names, np.stack([frame(shape, prepare, f"{path}: shape {i}")[1] for i, shape in enumerate(shapes)])
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
    writer.writerow(["name", "source", "group", "labelled", "framed"])
    for face in faces:
        record = face.record
        source = record.image.split("/")[1 if record.extra else 0]
        facts = (face.landmarks is not None, record.points is not None)
        writer.writerow([record.image, source, face.group, *map(int, facts)])
    files.write_text(folder / "index.csv", table.getvalue())


def _cut(raw: Path, faces: Sequence[Face], size: int) -> Iterator[Pixels]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL lets go of the interpreter while it decodes and resamples
        for start in range(0, len(faces), BLOCK):
            yield from pool.map(
                lambda face: cut_file(raw / face.record.image, face.square, size), faces[start : start + BLOCK]
            )


def _counts(faces: Sequence[Face]) -> dict[str, int]:
    """`labelled`: the training images whose landmarks training may see."""
    counts = {split: sum(face.split == split for face in faces) for split in SPLITS}
    labelled = sum(face.landmarks is not None for face in faces if face.split == "train")
    return counts | {"labelled": labelled, "extra": sum(face.record.extra for face in faces)}
