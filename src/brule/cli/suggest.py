"""`brule suggest`: which photos to label next."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from brule import cli, files
from brule.cli.named import find
from brule.errors import BruleError
from brule.terminal import track

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from brule.detector.model import Detector

TITLE = "Say which photos to label next: the doubtful ones of every kind."
EPILOG = """\
The detector looks at every photo. The photos are divided into as many kinds as you want labels, by what they look like
and by the landmarks found. Of each kind the one is chosen that the detector is most in doubt about, outliers aside.

PHOTOS are files, folders or patterns; those with a .pts beside them are labelled already and left out. Without PHOTOS
the training images of data/crops are taken, of which training has not seen the landmarks; not those of data.extra,
whose landmarks nothing reads.

FOLDER gets labelled.txt, a list of names that prepare.labelled reads; sheet.png, the chosen photos with what was found
on them, the most doubtful first; and photos/, copies of them. Draw proposals to correct, correct them in your tool, and
give them back:

  brule suggest pictures -n 20 --out next
  brule predict next/photos --format label-studio --out next       (or coco, cvat, tps)
  cp models/detector.safetensors start.safetensors
  python pipelines/experiment.py NAME few-labels -S data.labels=corrected.json \\
    -S prepare.labelled=next/labelled.txt -S train.initial=start.safetensors

NAME is the experiment that trained the detector. The copy is what the new training starts from, since it writes models/
anew. prepare.labelled names images as data/crops does: a photo of the folder data.location is folder/NAME.

examples:
  brule suggest -n 20 --out next
  brule suggest pictures -n 50 --out next"""
RAW = Path("data/raw")
BATCH = 16
"""Photos that are answered together."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A photo that may be chosen."""

    name: str
    """As prepare.labelled names it."""
    path: Path
    crop: npt.NDArray[np.uint8]
    """(S, S, 3), around what was found."""
    points: npt.NDArray[np.float64]
    """(K, 2) in crop units."""
    plausibility: float


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = command.add_argument
    add("photos", nargs="*", metavar="PHOTO", help="a file, a folder or a pattern; default: data/crops")
    cli.count(command, "photos", 10**5, 20, "how many photos")
    cli.model(command)
    add("--out", type=Path, required=True, metavar="FOLDER", help="a new folder, or an empty one")
    add("--all", action="store_true", help="photos that are labelled already may be chosen, too")


def run(args: argparse.Namespace) -> bool:
    """Look, choose and write. Returns whether any photo failed."""
    out = cli.new_folder(args.out, "give --out the name of a new one")
    import numpy as np

    from brule.detector.model import load
    from brule.detector.suggestion import choose, descriptors

    detector = load(args.model)
    if detector.judge is None:
        raise BruleError(f"{args.model}: has no plausibility, since an older brule trained it; train it again")
    failures: list[str] = []
    seen = list(_photos(args, detector, failures) if args.photos else _crops(args, detector))
    if not seen:
        what = "photo is left to choose from" if failures else "photo without labels is left; --all takes the others"
        raise BruleError(f"{' '.join(args.photos) or 'data/crops'}: no {what}")
    kinds = descriptors(np.stack([each.crop for each in seen]), np.stack([each.points for each in seen]))
    chosen = [seen[i] for i in choose(kinds, np.array([-each.plausibility for each in seen]), args.count)]
    _write(out, chosen, detector)
    print(
        f"{args.out}: {len(chosen)} of {len(seen)} photos to label, the most doubtful first; names in labelled.txt, "
        "pictures in sheet.png, copies in photos/"
    )
    return bool(failures)


def _photos(args: argparse.Namespace, detector: Detector, failures: list[str]) -> Iterator[Candidate]:
    """Photos of the user's own, cut around what was found on them."""
    from brule.data import photos
    from brule.data.crop import around, cut_picture, to_units
    from brule.data.inspection import unlistable
    from brule.data.layouts import points_beside

    chosen: dict[Path, str] = {}
    for argument in args.photos:
        for path, place in find(argument).items():
            name = f"folder/{place.as_posix()}{path.suffix}"
            if wrong := unlistable(name, path):
                raise wrong
            if path not in chosen and name in chosen.values():
                raise BruleError(f"{path}: another photo is called {name}, too; give the folder that holds both")
            if args.all or not points_beside(path):
                chosen[path] = name
    answers = detector.predictions(chosen, repeat(None), None, BATCH)
    for (path, name), answer in zip(chosen.items(), track(answers, "Looking", len(chosen)), strict=True):
        try:
            if isinstance(answer, BruleError):
                raise answer
            square = around(answer.points, *detector.framing)
            with photos.picture(path, str(path), square.side, detector.image_size) as picture:
                crop = cut_picture(picture, square, detector.image_size)
        except BruleError as error:
            failures.append(str(error))
            print(error, file=sys.stderr)
            continue
        yield Candidate(name, path, crop, to_units(answer.points, square), answer.plausibility or 0.0)


def _crops(args: argparse.Namespace, detector: Detector) -> Iterator[Candidate]:
    """The training images of data/crops."""
    import numpy as np

    from brule.data import prepared

    crops = prepared.load(prepared.CROPS, "train", labels=False)
    own = ~crops.index["name"].str.startswith("extra/")  # labels of the others cannot be given to training
    rows = np.flatnonzero(own & (args.all | ~crops.index["labelled"])).tolist()
    for start in track(range(0, len(rows), BATCH), "Looking", -(-len(rows) // BATCH)):
        some = rows[start : start + BATCH]
        images, names = crops.images[some], crops.index["name"].iloc[some]
        answers = zip(names, images, detector.points(images), detector.plausibility(images), strict=True)
        for name, image, points, sure in answers:
            yield Candidate(name, RAW / name, image, points.astype(np.float64), float(sure))


def _write(out: Path, chosen: Sequence[Candidate], detector: Detector) -> None:
    """The list, the sheet and the copies, all or nothing."""
    import numpy as np

    from brule.figures import contact

    with files.folder(out) as folder:
        names = "".join(f"{each.name}\n" for each in chosen)
        head = "# What to label next, the most doubtful first, for prepare.labelled. Written by `brule suggest`.\n"
        files.write_text(folder / "labelled.txt", head + names)
        crops, points = np.stack([each.crop for each in chosen]), np.stack([each.points for each in chosen])
        heading = f"{len(chosen)} photos to label next, row by row, the most doubtful first"
        note = "What the detector finds on them."
        contact.sheet(crops, points, detector.scheme, folder / "sheet.png", heading, note)
        for each in chosen:
            target = folder / "photos" / each.name.partition("/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each.path, target)
