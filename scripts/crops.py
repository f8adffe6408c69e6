"""What the crop costs: a detector's errors on the test photos, by where the square comes from at which it looks.

    PYTHONPATH=src python scripts/crops.py --model models/detector.safetensors

Reads the photos and their landmarks from data/raw, and from data/crops which of them are in the test split. Measures
each way with a single look, with further ones, and by default, as `brule predict` has it: without a box the first two
begin with the largest square in the middle, and the default searches the whole photo. Prints a table in Markdown, and
how many photos without a box each answers in a second.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from brule.data import prepared
from brule.data.crop import Points
from brule.data.photos import picture
from brule.data.pts import read_pts
from brule.detector.model import Detector
from brule.detector.prediction import Box
from brule.errors import BruleError
from brule.maths import metrics
from brule.terminal import main

Floats = npt.NDArray[np.float64]

RAW = Path("data/raw")
REFINE: dict[str, bool | None] = {"`--no-refine`": False, "`--refine`": True, "the default": None}
HEAD = ("the square is cut", *(cell for way in REFINE for cell in (f"{way}: NME, %", "worse than 10 %")))


class Known(NamedTuple):
    """A photo of the test split."""

    path: Path
    truth: Points
    """(K, 2), pixels."""
    share: float
    """Width of the landmark box over the side of the photo's largest square."""
    direction: Points
    """(2,), the random unit vector along which the box is moved."""


def photos(most: int | None = None) -> list[Known]:
    """The labelled photos of the test split, or `most` of them drawn at random. Raises BruleError if there are none."""
    index, rng = prepared.load(prepared.CROPS, "test", labels=False).index, np.random.default_rng(0)
    records = prepared.read_manifest(RAW / "manifest.json", "run the download stage again")["records"]
    landmarks = {record["image"]: record["points"] for record in records if record["points"]}
    found = []
    for name in index.loc[index["labelled"], "name"]:
        path, truth = RAW / name, read_pts(RAW / landmarks[name])
        with picture(path, name, None, 64) as whole:
            size = whole.size
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        found.append(Known(path, truth, float(np.ptp(truth[:, 0])) / min(size), direction))
    if not found:
        raise BruleError(
            f"{prepared.CROPS}/test: no image has landmarks, so nothing can be measured; prepare images that have some"
        )
    chosen = np.random.default_rng(0).permutation(len(found))[:most]
    return [found[k] for k in sorted(chosen)]


def boxed(photo: Known, moved: float = 0.0, scaled: float = 1.0) -> Box:
    """The box around the true landmarks, its centre moved by `moved` of its widths, its sides scaled."""
    low, size = photo.truth.min(0), np.ptp(photo.truth, axis=0)
    centre, sides = low + size / 2 + moved * size[0] * photo.direction, scaled * size
    return [*(centre - sides / 2), *sides]


WAYS: dict[str, Callable[[Known], Box | None]] = {
    "around the landmarks' box, `--box`": boxed,
    "around it, moved by 10 % of its width": lambda photo: boxed(photo, moved=0.1),
    "around it, moved by 20 %": lambda photo: boxed(photo, moved=0.2),
    "around it, 20 % too small": lambda photo: boxed(photo, scaled=0.8),
    "around it, 20 % too large": lambda photo: boxed(photo, scaled=1.2),
    "without a box": lambda photo: None,
}


def errors(
    detector: Detector, known: Sequence[Known], way: Callable[[Known], Box | None], refine: bool | None
) -> Floats:
    """NME of each photo, in percent."""
    answers = detector.predict([photo.path for photo in known], [way(photo) for photo in known], refine, 16)
    truth = np.stack([photo.truth for photo in known])
    scale = metrics.normaliser(truth, detector.scheme.normaliser)
    return metrics.nme(np.stack([answer.points for answer in answers]), truth, scale)


def as_prepared(detector: Detector) -> Floats:
    """NME of each prepared crop, as the `evaluate` stage measures it."""
    split = prepared.load(prepared.CROPS, "test", labels=True)
    truth = np.asarray(split.landmarks)[split.index["labelled"]]
    scale = metrics.normaliser(truth, detector.scheme.normaliser)
    return metrics.nme(detector.points(split.images[split.index["labelled"]]), truth, scale)


def row(name: str, looks: Sequence[Floats | None]) -> str:
    cells = [name]
    for each in looks:
        cells += ["–", "–"] if each is None else [f"{each.mean():.2f}", f"{metrics.failure_rate(each, 10):.1%}"]
    return f"| {' | '.join(cells)} |"


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/detector.safetensors"), help="default: %(default)s")
    parser.add_argument("-n", type=int, help="photos, at most, drawn at random; default: all")
    args = parser.parse_args()
    detector, known = Detector.load(args.model), photos(args.n)
    source = json.loads((RAW / "manifest.json").read_text(encoding="utf-8"))["source"]
    print(
        f"{len(known)} test photos of `{source}`. Their landmarks are {np.median([p.share for p in known]):.0%} of the "
        f"photo's largest square wide (the median); of the square that training saw, {detector.framing.fill:.0%}.\n"
    )
    print(f"| {' | '.join(HEAD)} |\n|---{'|---:' * (len(HEAD) - 1)}|")
    print(row("as `prepare` cuts it, which `evaluate` measures", [as_prepared(detector), None, None]), flush=True)
    pace = {}
    for name, way in WAYS.items():
        looks = []
        for refine in REFINE.values():
            start = time.perf_counter()
            looks.append(errors(detector, known, way, refine))
            pace[refine] = len(known) / (time.perf_counter() - start)  # of the last way, the one without a box
        print(row(name, looks), flush=True)
    told = ", ".join(f"{head} {pace[refine]:.1f}" for head, refine in REFINE.items())
    print(f"\nPhotos answered in a second without a box: {told}.")


if __name__ == "__main__":
    main(run)
