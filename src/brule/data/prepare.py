"""From records to crops: the split, the square and the landmarks in crop units of every image that is used.

Which crops are kept as images, whose landmarks training may see, and which crops lend their shapes to the prior.

data/raw → data/crops: one crop protocol, one split, arrays that map straight into memory."""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brule import config, files
from brule.data.crop import Pixels, Square, around, cut_file, to_units
from brule.data.landmarks import Points, read_pts, read_shapes
from brule.data.layouts import Record, Split
from brule.data.prepared import read_manifest
from brule.data.schemes import Scheme
from brule.data.splits import assign, halve, listed, photo_groups
from brule.errors import BruleError
from brule.terminal import track


@dataclass(frozen=True)
class Crop:
    """An image to be cut."""

    record: Record
    group: str
    split: Split
    square: Square | None
    """None: the largest centred square."""
    landmarks: Points | None
    """(K, 2) in crop units; None where it is unlabelled, or extra."""


def framed(
    raw: Path, records: Sequence[Record], prepare: config.Prepare, seed: int, labelled: Collection[str]
) -> list[Crop]:
    """Split and square of every image that is used. The photos of `labelled` (images' names) stay in training."""
    groups = photo_groups(raw, records)
    kept = {group for record, group in zip(records, groups, strict=True) if record.image in labelled}
    splits = assign(records, groups, {"validation": prepare.validation, "test": prepare.test}, seed, kept)
    crops = []
    for record, group, split in zip(records, groups, splits, strict=True):
        if split is None:
            continue
        square, units = record.crop, None
        if record.points:
            path = raw / record.points
            points = read_pts(path)
            square, units = frame(points, prepare, path)
        crops.append(Crop(record, group, split, square, None if record.extra else units))
    return crops


def frame(points: Points, prepare: config.Prepare, origin: object) -> tuple[Square, Points]:
    """The square around landmarks (K, 2) in pixels, and the landmarks in its units. An error names their `origin`."""
    try:
        square = around(points, prepare.crop_fill, prepare.crop_lift)
    except BruleError as error:
        raise BruleError(f"{origin}: {error}") from None
    return square, to_units(points, square)


SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def choose(
    crops: Sequence[Crop], prepare: config.Prepare, seed: int, instead: bool, labelled: Collection[str]
) -> tuple[list[Crop], list[Crop]]:
    """The images kept, at most `limit` of a split; and as many training images of the source that lend their shapes.

    `instead`: extra images come in the place of the source's, which then only lend their shapes. `labelled`: names of
    the images that alone keep their landmarks; () where all may. Raises BruleError naming the key.
    """
    lends, shows = _halves(crops, seed, labelled) if prepare.halves else (_always, _always)
    order = np.random.default_rng([seed, 2]).permutation(len(crops)) if prepare.limit else np.arange(len(crops))
    kept: list[int] = []
    for split in SPLITS:
        members = [i for i in order if crops[i].split == split]
        if split == "train":
            members = [i for i in members if shows(crops[i]) and (crops[i].record.extra or not instead)]
            # Where there is a limit the listed images come first: few labels are few already.
            members.sort(key=lambda i: crops[i].record.image not in labelled)
        kept += members[: prepare.limit]
    if not any(crops[i].split == "train" for i in kept):
        raise BruleError("prepare: no training image is left; give more images, or smaller validation and test shares")
    lenders = [crops[i] for i in order if crops[i].split == "train" and crops[i].landmarks is not None]
    lenders = [crop for crop in lenders if lends(crop)][: prepare.limit]
    return [_hidden(crops[i], labelled) for i in sorted(kept)], lenders


def check(prepare: config.Prepare, labelled: Collection[str], shapes: bool, instead: bool) -> None:
    """Raise BruleError where keys contradict each other. `shapes`: they were given, and are not the training part's."""
    if prepare.halves and (shapes or instead):
        key = "data.shapes is given" if shapes else "data.extra.use is instead"
        raise BruleError(f"prepare.halves: {key}, so no shape is that of a training image anyway; set it to false")
    if labelled and instead:
        raise BruleError("prepare.labelled: data.extra.use is instead, so no listed image trains; set it to join")
    if prepare.limit and len(labelled) > prepare.limit:
        raise BruleError(
            f"prepare.limit: {prepare.limit} is less than the {len(labelled)} images of {prepare.labelled}; raise it"
        )


def _always(_: Crop) -> bool:
    return True


def _hidden(crop: Crop, labelled: Collection[str]) -> Crop:
    """The crop without landmarks, where it is a training image that the list does not name."""
    if not labelled or crop.split != "train" or crop.record.image in labelled:
        return crop
    return replace(crop, landmarks=None)


def _halves(
    crops: Sequence[Crop], seed: int, labelled: Collection[str]
) -> tuple[Callable[[Crop], bool], Callable[[Crop], bool]]:
    """Whether a training crop lends its shape, and whether it shows its image: no photo group does both.

    Photos without landmarks have no shape to lend, and all show their images. So do extra images, but for those of a
    photo that lends.
    """
    training = [crop for crop in crops if crop.split == "train" and not crop.record.extra]
    shaped = {crop.group for crop in training if crop.landmarks is not None}
    if len(shaped) < 2:
        raise BruleError(
            f"prepare.halves: photos of the training part with landmarks: {len(shaped)}, which are no two halves; "
            "give more photos, or set it to false"
        )
    named = {crop.group for crop in training if crop.record.image in labelled}
    lending = halve(Counter(crop.group for crop in training if crop.group in shaped), named, seed)
    if not lending:
        raise BruleError("prepare.halves: prepare.labelled names every photo, so none is left to lend its shape")
    return lambda crop: crop.group in lending, lambda crop: crop.group not in lending


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
            part = [crop for crop in kept if crop.split == split]
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
    raw: Path, manifest: dict[str, Any], lenders: Sequence[Crop], prepare: config.Prepare
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
    own = [crop.landmarks for crop in lenders if crop.landmarks is not None]
    _check_counts(raw, lenders, len(own[0]))
    return None, np.stack(own)


def _check_counts(raw: Path, crops: Sequence[Crop], landmarks: int) -> None:
    for crop in crops:
        if crop.landmarks is not None and len(crop.landmarks) != landmarks:
            path = raw / str(crop.record.points)
            raise BruleError(
                f"{path}: has {len(crop.landmarks)} landmarks but the shapes have {landmarks}; make them agree"
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


def _write(folder: Path, raw: Path, crops: Sequence[Crop], size: int, landmarks: int) -> None:
    folder.mkdir()
    with (folder / "images.npy").open("wb") as stream:
        # Written block by block, not through a memory map: a full disk then is an error, not a crash.
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(crops), size, size, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        for pixels in track(_cut(raw, crops, size), f"Cutting {folder.name}", len(crops)):
            stream.write(pixels.tobytes())
    points = np.full((len(crops), landmarks, 2), np.nan, dtype=np.float32)
    for row, crop in zip(points, crops, strict=True):
        if crop.landmarks is not None:
            row[:] = crop.landmarks
    files.save_array(folder / "landmarks.npy", points)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "source", "group", "labelled", "framed"])
    for crop in crops:
        record = crop.record
        source = record.image.split("/")[1 if record.extra else 0]
        facts = (crop.landmarks is not None, record.points is not None)
        writer.writerow([record.image, source, crop.group, *map(int, facts)])
    files.write_text(folder / "index.csv", table.getvalue())


def _cut(raw: Path, crops: Sequence[Crop], size: int) -> Iterator[Pixels]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL lets go of the interpreter while it decodes and resamples
        for start in range(0, len(crops), BLOCK):
            yield from pool.map(
                lambda crop: cut_file(raw / crop.record.image, crop.square, size), crops[start : start + BLOCK]
            )


def _counts(crops: Sequence[Crop]) -> dict[str, int]:
    """`labelled`: the training images whose landmarks training may see."""
    counts = {split: sum(crop.split == split for crop in crops) for split in SPLITS}
    labelled = sum(crop.landmarks is not None for crop in crops if crop.split == "train")
    return counts | {"labelled": labelled, "extra": sum(crop.record.extra for crop in crops)}
