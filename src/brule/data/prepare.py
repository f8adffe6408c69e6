"""data/raw → data/crops: one way to crop every image, one split, and arrays that map straight into memory.

Three steps: give every image its split and its square, choose which crops train and which only lend their shapes to the
prior, and cut.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from brule import config, cores, files
from brule.data.crop import Framing, Pixels, Square, around, cut_file, to_units
from brule.data.labels import Points
from brule.data.landmarks import read_shapes
from brule.data.layouts import Record, Split
from brule.data.prepared import read_manifest, read_scheme
from brule.data.pts import read_pts
from brule.data.schemes import Scheme
from brule.data.splits import assign, halve, listed, photo_groups
from brule.errors import BruleError, counted
from brule.terminal import track


@dataclass(frozen=True)
class Crop:
    """An image that will be cut."""

    record: Record
    group: str
    split: Split
    square: Square | None
    """None: the largest centred square."""
    landmarks: Points | None
    """(K, 2) in crop units. None if the image is unlabelled or extra."""


def framed(
    raw: Path,
    records: Sequence[Record],
    prepare: config.Prepare,
    seed: int,
    labelled: Collection[str],
    measure_first: bool = False,
) -> list[Crop]:
    """Split and square of every image that is used. Photos whose names are in `labelled` stay in the training part.

    `measure_first`: few other landmarks go to validation and test first, see `splits.assign`.
    """
    groups = photo_groups(raw, records)
    kept = {group for record, group in zip(records, groups, strict=True) if record.image in labelled}
    shares: dict[Split, float] = {"validation": prepare.validation, "test": prepare.test}
    splits = assign(records, groups, shares, seed, kept, measure_first)
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


def framing(prepare: config.Prepare) -> Framing:
    """How the parameters place landmarks in a crop."""
    return Framing(prepare.crop_fill, prepare.crop_lift, prepare.crop_height or 1.0)


def frame(points: Points, prepare: config.Prepare, origin: object) -> tuple[Square, Points]:
    """The square around landmarks (K, 2) in pixels, and the landmarks in its units. Errors name the `origin`."""
    try:
        square = around(points, *framing(prepare))
    except BruleError as error:
        raise BruleError(f"{origin}: {error}") from None
    return square, to_units(points, square)


SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def choose(
    crops: Sequence[Crop], prepare: config.Prepare, seed: int, instead: bool, labelled: Collection[str]
) -> tuple[list[Crop], list[Crop]]:
    """The crops kept as images, and the training crops of the source that lend their shapes; at most `limit` of each.

    `instead`: extra images replace the source's training images, which then only lend their shapes. `labelled` names
    the only images that keep their landmarks; if it is empty, all do. Raises BruleError naming the key.
    """
    lends, shows = _halves(crops, seed, labelled) if prepare.halves else (_always, _always)
    order = np.random.default_rng([seed, 2]).permutation(len(crops)) if prepare.limit else np.arange(len(crops))
    kept: list[int] = []
    for split in SPLITS:
        members = [i for i in order if crops[i].split == split]
        if split == "train":
            members = [i for i in members if shows(crops[i]) and (crops[i].record.extra or not instead)]
            # The listed images come first, so that a limit does not make few labels fewer.
            members.sort(key=lambda i: crops[i].record.image not in labelled)
        else:
            members.sort(key=lambda i: crops[i].landmarks is None)  # nor fewer those that measure the error
        kept += members[: prepare.limit]
    lenders = [crops[i] for i in order if crops[i].split == "train" and crops[i].landmarks is not None]
    lenders = [crop for crop in lenders if lends(crop)][: prepare.limit]
    return [_hidden(crops[i], labelled) for i in sorted(kept)], lenders


def check(prepare: config.Prepare, labelled: Collection[str], shapes: bool, instead: bool) -> None:
    """Raise BruleError if keys contradict each other. `shapes`: whether `data.shapes` was given."""
    if prepare.halves and (shapes or instead):
        key = "data.shapes is given" if shapes else "data.extra.use is instead"
        raise BruleError(f"prepare.halves: {key}, so no training image lends its shape anyway; remove it")
    if labelled and instead:
        raise BruleError(
            "prepare.labelled: data.extra.use is instead, so no listed image is used for training; set it to join"
        )
    if prepare.limit and len(labelled) > prepare.limit:
        raise BruleError(
            f"prepare.limit: {prepare.limit} is less than the {len(labelled)} images in {prepare.labelled}; raise it"
        )


def _always(_: Crop) -> bool:
    return True


def _hidden(crop: Crop, labelled: Collection[str]) -> Crop:
    """The crop, without its landmarks if it is a training image that the list does not name."""
    if not labelled or crop.split != "train" or crop.record.image in labelled:
        return crop
    return replace(crop, landmarks=None)


def _halves(
    crops: Sequence[Crop], seed: int, labelled: Collection[str]
) -> tuple[Callable[[Crop], bool], Callable[[Crop], bool]]:
    """Two questions about a training crop: does it lend its shape, and does it show its image? No photo does both.

    Photos without landmarks have no shape to lend, so all of them show their images. Extra images do too, unless their
    photo lends its shape.
    """
    training = [crop for crop in crops if crop.split == "train" and not crop.record.extra]
    shaped = {crop.group for crop in training if crop.landmarks is not None}
    if len(shaped) < 2:
        raise BruleError(
            f"prepare.halves: needs at least two training photos with landmarks and found {len(shaped)}; "
            "give more photos, or remove it"
        )
    named = {crop.group for crop in training if crop.record.image in labelled}
    lending = halve(Counter(crop.group for crop in training if crop.group in shaped), named, seed)
    if not lending:
        raise BruleError("prepare.halves: prepare.labelled names every photo, so none is left to lend its shape")
    return lambda crop: crop.group in lending, lambda crop: crop.group not in lending


_DOWNLOAD = "run the download stage again"
BLOCK = 512
"""Images cut at a time. It bounds the memory, whatever the size of the data set."""


def prepare(
    raw: Path,
    destination: Path,
    prepare: config.Prepare,
    seed: int,
    normaliser: tuple[int, int] | None = None,
    mode: str = "unsupervised",
) -> dict[str, int]:
    """Cut every image of `raw` into `destination`: images, landmarks and index of each split, shapes, and a manifest.

    The square of a labelled image comes from its landmark box, even if training may not see the landmarks. An
    unlabelled image has the square of its record, or else the largest one in its middle. `prepare.labelled` is relative
    to the working directory. `normaliser` replaces the scheme's own pair. `mode` is `train.mode`: landmarks that are of
    no use to training measure it. All or nothing. Returns the counts. Raises BruleError naming the file.
    """
    path = raw / "manifest.json"
    manifest, records = _gathered(path)
    instead = bool(manifest["extra"]) and manifest["extra"]["use"] == "instead"
    labelled = listed(Path(prepare.labelled), records) if prepare.labelled else set()
    check(prepare, labelled, bool(manifest["shapes"]), instead)
    # Without data.shapes the training photos' own landmarks are the shapes, and with a mode other than unsupervised and
    # no list all of them are labels: then training needs its part of them.
    spare = bool(manifest["shapes"]) and (mode == "unsupervised" or bool(labelled))
    crops = framed(raw, records, prepare, seed, labelled, spare)
    kept, lenders = choose(crops, prepare, seed, instead, labelled)
    if not any(crop.split == "train" for crop in kept):
        raise BruleError(
            f"{raw}: no training image is left; give more images, or lower prepare.validation and prepare.test"
        )
    own, shapes = _shapes(raw, manifest, lenders, prepare)
    _check_counts(raw, kept, shapes.shape[1])
    known = own or (read_scheme(path, manifest, _DOWNLOAD) if manifest["scheme"] else None)
    scheme = _scheme(known, shapes.shape[1], normaliser)
    counts = _counts(kept) | {"shapes": len(shapes)}
    with files.folder(destination) as folder:
        files.save_array(folder / "shapes.npy", _canonical(shapes))
        for split in SPLITS:
            part = [crop for crop in kept if crop.split == split]
            _write(folder / split, raw, part, prepare.image_size, shapes.shape[1])
        summary = {
            "scheme": scheme.to_json(),
            "counts": counts,
            "image_size": prepare.image_size,
            "framing": framing(prepare)._asdict(),
            "labelled": prepare.labelled,
            "halves": bool(prepare.halves),
            **{key: manifest[key] for key in ("source", "licence", "extra")},
        }
        files.write_json(folder / "manifest.json", summary)
    return counts


class _Extra(BaseModel):
    use: Literal["join", "instead"]


class _Gathered(BaseModel):
    """What is needed here of what `download` wrote down."""

    source: str
    licence: str
    scheme: dict[str, Any] | None
    shapes: str | None
    extra: _Extra | None
    records: list[Record]


def _gathered(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """The manifest of data/raw and its records."""
    manifest = read_manifest(path, _DOWNLOAD)
    try:
        gathered = _Gathered.model_validate(manifest)
    except ValidationError:
        raise BruleError(f"{path}: is damaged; {_DOWNLOAD}") from None
    named = [gathered.shapes, *(name for record in gathered.records for name in (record.image, record.points))]
    if any(name and (name.startswith("/") or ".." in name.split("/")) for name in named):
        raise BruleError(f"{path}: names a file outside its folder; {_DOWNLOAD}")
    return manifest, gathered.records


def _shapes(
    raw: Path, manifest: dict[str, Any], lenders: Sequence[Crop], prepare: config.Prepare
) -> tuple[Scheme | None, Points]:
    """The scheme of `data.shapes`, if it has one, and unpaired shapes (M, K, 2) in crop units.

    These are the shapes of `data.shapes`, or else the lenders' own.
    """
    if manifest["shapes"]:
        path = raw / manifest["shapes"]
        given = read_shapes(path)
        framed = [frame(shape, prepare, f"{path}: shape {i}")[1] for i, shape in enumerate(given.points)]
        return given.scheme, np.stack(framed)
    if not lenders:
        raise BruleError(
            f"data.shapes: is empty, and no training image in {raw} has landmarks; give a few shapes (.pts, CSV, JSON, "
            "or the file of a labelling tool)"
        )
    own = [crop.landmarks for crop in lenders if crop.landmarks is not None]
    _check_counts(raw, lenders, len(own[0]))
    return None, np.stack(own)


def _check_counts(raw: Path, crops: Sequence[Crop], landmarks: int) -> None:
    for crop in crops:
        if crop.landmarks is not None and len(crop.landmarks) != landmarks:
            path = raw / str(crop.record.points)
            raise BruleError(
                f"{path}: has {counted(len(crop.landmarks), 'landmark')} but the shapes have {landmarks}; "
                "make them agree"
            )


def _canonical(shapes: Points) -> npt.NDArray[np.float32]:
    """Sorted lexicographically, so that the order does not tell which shape belongs to which image."""
    flat = shapes.astype(np.float32).reshape(len(shapes), -1)
    order = np.lexsort(flat.T[::-1])
    return shapes.astype(np.float32)[order]


def _scheme(known: Scheme | None, landmarks: int, normaliser: tuple[int, int] | None) -> Scheme:
    scheme = known if known and len(known.names) == landmarks else Scheme.of(landmarks)
    if normaliser is None:
        return scheme
    if max(normaliser) >= landmarks or normaliser[0] == normaliser[1]:
        raise BruleError(
            f"data.normaliser: {list(normaliser)} must be two different landmarks from 0 to {landmarks - 1}; correct it"
        )
    return Scheme(scheme.names, scheme.flip, normaliser, scheme.edges)


def _write(folder: Path, raw: Path, crops: Sequence[Crop], size: int, landmarks: int) -> None:
    folder.mkdir()
    with (folder / "images.npy").open("wb") as stream:
        # Written block by block, not through a memory map, so that a full disk is an error and not a crash.
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
    with ThreadPoolExecutor(cores.available()) as pool:  # PIL lets go of the interpreter while it decodes and resamples
        for start in range(0, len(crops), BLOCK):
            yield from pool.map(
                lambda crop: cut_file(raw / crop.record.image, crop.square, size), crops[start : start + BLOCK]
            )


def _counts(crops: Sequence[Crop]) -> dict[str, int]:
    """Images of each split, training images whose landmarks training may see, and extra images."""
    counts = {split: sum(crop.split == split for crop in crops) for split in SPLITS}
    labelled = sum(crop.landmarks is not None for crop in crops if crop.split == "train")
    return counts | {"labelled": labelled, "extra": sum(crop.record.extra for crop in crops)}
