"""How well a detector knows what it was not trained on: the plausibility of right and of wrong crops.

    PYTHONPATH=src python scripts/plausibility.py models/detector.safetensors --right photos/ --wrong xrays/ spines/

Every folder holds photos with a .pts beside each. A crop is cut around the landmarks as the training crops were. Beside
the folders of other objects, squares from the background of the right photos are wrong, too. Prints how many crops are
below the threshold, and AUROC: how often a right crop is more plausible than a wrong one. For the right ones it prints
the rank correlation of the plausibility with the error, which should be negative. With --search the whole photos are
searched instead, as by brule predict: of a photo that shows something else, too, the most plausible place is found.

A detector that an older brule trained has no plausibility: --measure CROPS measures it on prepared data, such as
data/crops, and --save FILE writes the detector with it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from brule.data import prepared
from brule.data.crop import SUFFIXES, Pixels, Points, Square, around, cut_file
from brule.data.photos import read
from brule.data.pts import read_pts
from brule.detector.model import Detector
from brule.detector.plausibility import THRESHOLD
from brule.errors import BruleError
from brule.maths import metrics
from brule.terminal import main

Floats = npt.NDArray[np.float64]
HEAD = f"| {{}} | number | below {THRESHOLD} | median | AUROC |\n|---|---:|---:|---:|---:|"
_TRIES = 30


class Labelled(NamedTuple):
    """A photo and its landmarks (K, 2), in pixels."""

    path: Path
    truth: Points


def labelled(folder: Path, most: int) -> list[Labelled]:
    """The photos of a folder that have a .pts beside them, at most so many, drawn at random."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = [path for path in paths if path.with_suffix(".pts").is_file()]
    if not paths:
        raise BruleError(f"{folder}: holds no photo with a .pts beside it; give another folder")
    chosen = np.random.default_rng(0).permutation(len(paths))[:most]
    return [Labelled(paths[k], read_pts(paths[k].with_suffix(".pts"))) for k in sorted(chosen)]


def around_landmarks(detector: Detector, known: list[Labelled]) -> tuple[Pixels, list[Square]]:
    """The crops of photos, framed as the detector's training crops were, and their squares."""
    squares = [around(photo.truth, *detector.framing) for photo in known]
    size = detector.image_size
    return np.stack([cut_file(photo.path, at, size) for photo, at in zip(known, squares, strict=True)]), squares


def background(detector: Detector, known: list[Labelled]) -> Pixels:
    """A random square of each photo that has no part of the landmarks' box in it, where there is room for one."""
    return np.stack([crop for photo in known for crop in _beside(detector, photo)])


def _beside(detector: Detector, photo: Labelled) -> Iterator[Pixels]:
    rng, (low, high) = np.random.default_rng(0), (photo.truth.min(0), photo.truth.max(0))
    with read(photo.path, None, 64) as whole:
        width, height = whole.size
    for _ in range(_TRIES):
        side = rng.uniform(0.2, 0.5) * min(width, height)
        x, y = rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)
        if (np.abs(np.array([x, y]) - (low + high) / 2) > (side + high - low) / 2).any():
            yield cut_file(photo.path, Square(x, y, side), detector.image_size)
            return


def errors(detector: Detector, crops: Pixels, squares: list[Square], known: list[Labelled]) -> Floats | None:
    """NME of each crop in percent. None if its landmarks are not the detector's."""
    if any(photo.truth.shape != detector.barycenter.shape for photo in known):
        return None
    corners = np.array([[s.x - s.side / 2, s.y - s.side / 2] for s in squares])
    sides = np.array([s.side for s in squares])[:, None, None]
    truth = (np.stack([photo.truth for photo in known]) + 0.5 - corners[:, None]) / sides
    return metrics.nme(detector.points(crops), truth, metrics.normaliser(truth, detector.scheme.normaliser))


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("detector", type=Path)
    parser.add_argument("--right", type=Path, metavar="FOLDER", help="photos of what the detector was trained on")
    parser.add_argument("--wrong", type=Path, metavar="FOLDER", nargs="*", default=[], help="photos of other objects")
    parser.add_argument("--search", action="store_true", help="search the whole photos instead of cutting crops")
    parser.add_argument("-n", type=int, default=500, help="photos of a folder, at most; default: %(default)s")
    parser.add_argument("--measure", type=Path, metavar="CROPS", help="a folder that the prepare stage wrote")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the measured detector")
    args = parser.parse_args()
    detector = Detector.load(args.detector)
    if args.measure:
        images = prepared.load(args.measure, "validation", labels=False).images
        detector = detector.judged(images, prepared.load_shapes(args.measure))
    if detector.judge is None:
        raise BruleError(f"{args.detector}: has no plausibility; give --measure data/crops, its prepared data")
    if args.save:
        detector.save(args.save)
    if args.right:
        known, others = labelled(args.right, args.n), {folder: labelled(folder, args.n) for folder in args.wrong}
        (searched if args.search else compare)(detector, known, others)


def searched(detector: Detector, known: list[Labelled], others: dict[Path, list[Labelled]]) -> None:
    """Print the table of right and wrong photos, all of them searched."""
    print(HEAD.format("photos"))
    found = [
        np.array([answer.plausibility for answer in detector.predict([photo.path for photo in photos], batch_size=16)])
        for photos in (known, *others.values())
    ]
    print(row("right", found[0], None))
    for name, wrong in zip(others, found[1:], strict=True):
        print(row(str(name), wrong, metrics.auroc(found[0], wrong)))


def compare(detector: Detector, known: list[Labelled], others: dict[Path, list[Labelled]]) -> None:
    """Print the table of right and wrong crops."""
    crops, squares = around_landmarks(detector, known)
    right = detector.plausibility(crops)
    print(HEAD.format("crops"))
    print(row("right", right, None), flush=True)
    wrong = {str(folder): around_landmarks(detector, photos)[0] for folder, photos in others.items()}
    for name, images in {**wrong, "background": background(detector, known)}.items():
        found = detector.plausibility(images)
        print(row(name, found, metrics.auroc(right, found)), flush=True)
    nme = errors(detector, crops, squares, known)
    if nme is not None:
        print(f"\nNME {nme.mean():.2f} %; its rank correlation with the plausibility: {spearmanr(nme, right)[0]:.2f}")


def row(name: str, found: Floats, auroc: float | None) -> str:
    cells = [name, len(found), f"{(found < THRESHOLD).mean():.1%}", f"{np.median(found):.2g}"]
    return f"| {' | '.join(map(str, cells))} | {'–' if auroc is None else f'{auroc:.4f}'} |"


if __name__ == "__main__":
    main(run)
