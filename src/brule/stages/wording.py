"""What a run's measured numbers mean in words, which the terminal, the model card and the report share.

The sentences are plain text; what stands between `backticks` is code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from brule.data.schemes import IBUG68, Scheme
from brule.detector.model import Detector

Facts = Mapping[str, Any]

ROWS = {"": "detector", "floor_": "floor: the barycenter everywhere"}
ROWS |= {"oracle_similarity_": "oracle: the best similarity of it for each face"}
ROWS |= {"oracle_affine_": "oracle: the best affine map of it for each face"}
"""Prefixes of a split's scores → what each row of the table of errors is."""
COLUMNS = {(split, score): f"{split} {name}" for split in ("test", "validation") for score, name in
           {"nme": "NME", "w1": "W₁"}.items()}  # fmt: skip
"""(split, score) → the heads of that table."""
SAMPLES = {"nme": "NME, %", "nme_floor": "floor, %", "drift": "drift, %", "diversity": "diversity"}
"""Scores of the GAN's images → heads of their table."""
YARDSTICKS = (
    "The floor answers the barycenter, the mean shape, for every image without a look at it: who does not beat the "
    "floor has learned nothing. The oracles are told the truth in part: one moves, turns and scales the barycenter to "
    "where each face really is, the other may also shear and stretch it. Who beats them follows the form of the single "
    "face, not its pose alone."
)
_SAW = {
    "unsupervised": "Images without landmarks, and an unpaired set of landmark shapes. "
    "No training image was seen with its own landmarks.",
    "semi-supervised": "Images without landmarks, and the labelled images of the training split with theirs.",
    "supervised": "The labelled images of the training split with their landmarks.",
}
_PYTHON = """\
import brule

detector = brule.load("models/detector.safetensors")
found = detector.predict("photo.jpg")  # a photo of any kind and size
found = detector.predict("photo.jpg", (x, y, width, height))  # where the landmarks' box is known
found.points, found.confidence, found.names  # ({landmarks}, 2) pixels of the photo, {landmarks} numbers in [0, 1]
points = detector.points(crops)  # prepared crops, uint8 (N, {size}, {size}, 3) → (N, {landmarks}, 2) in [0, 1]²"""
SHELL = "brule predict photo.jpg --refine --out found --overlay"
USED = (
    "Without a box the detector looks at the largest square in the middle of the photo; `refine=True` looks again, "
    "close around what was found, until that comes to rest. The line for the terminal draws the landmarks on the photo "
    "as well; `brule predict --help` explains it."
)


def title(scheme: Scheme) -> str:
    """What the model is, in a headline."""
    return f"A detector of {len(scheme.names)} {kind(scheme)}"


def kind(scheme: Scheme) -> str:
    """What its landmarks are, as far as the scheme tells."""
    return "facial landmarks" if scheme == IBUG68 else "landmarks"


def mode(detector: Detector) -> str:
    """How it was trained: `unsupervised`, `semi-supervised` or `supervised`."""
    return str(detector.training.get("mode", "unknown"))


def verdict(scores: Facts) -> str:
    """What a split's scores mean, in a sentence: the detector against the floor."""
    nme, floor = scores["nme"], scores["floor_nme"]
    if nme is None or floor is None:
        return "There are no landmarks to measure against: nothing is known about its error."
    if nme >= floor:
        return (
            f"It does not beat the floor: its error of {nme:.2f} % is not below the {floor:.2f} % of answering the "
            "barycenter everywhere, so it has learned nothing."
        )
    return f"Its error of {nme:.2f} % is {100 * (1 - nme / floor):.0f} % below the floor of {floor:.2f} %."


def unit(scheme: Scheme) -> str:
    """What the errors are percents of."""
    if scheme.normaliser is None:
        return "the diagonal of the landmarks' box"
    one, other = (scheme.names[index] for index in scheme.normaliser)
    return f"the distance from `{one}` to `{other}`"


def measured(report: Facts) -> str:
    """How many images were measured, what the scores are, and how the errors are spread over the test split."""
    test, validation = report["test"], report["validation"]
    text = (
        f"Over {test['images']} labelled test and {validation['images']} validation images. NME compares each landmark "
        "with its own truth; the W₁ score compares the two point sets and ignores which point is which."
    )
    if test["nme"] is not None:
        text += (
            f" On the test split the area under the error distribution below 8 % is {test['auc_08']:.3f}; "
            f"{test['failure_08']:.1%} of the images are worse than 8 %, {test['failure_10']:.1%} worse than 10 %."
        )
    return text


def errors(report: Facts) -> list[list[str]]:
    """The rows of the table of errors, without their heads: the detector, its floor and its oracles."""
    return [
        [label, *(number(report[split].get(f"{prefix}{score}")) for split, score in COLUMNS)]
        for prefix, label in ROWS.items()
    ]


def samples(scores: Facts) -> list[str]:
    """The scores of the GAN's images, in the order of SAMPLES."""
    return [number(scores[name]) for name in SAMPLES]


def sampled(report: Facts) -> str:
    """What the scores of the GAN's images are."""
    shapes = "shapes of validation images" if report["validation"]["images"] else "of the unpaired shapes"
    return (
        f"Over {report['samples']['shapes']} {shapes}, two random styles z each. NME: the landmarks that this "
        "detector, which learned together with G, finds on G(shape, z), against the shape. Floor: against the shape of "
        "another image, as if G ignored what it is asked for. Drift: how far landmarks move from one z to the other. "
        "Diversity: the L1 distance of two images of one shape over that of two real images."
    )


def saw(detector: Detector, manifest: Facts, report: Facts) -> str:
    """What training was shown, and what chose the checkpoint."""
    text = _SAW.get(mode(detector), "What it was is not recorded.")
    counts = manifest.get("counts")
    if isinstance(counts, Mapping) and counts:
        text += f" Counts of the prepared data: {listed(counts)}."
    if extra := manifest.get("extra"):
        stood = "beside" if extra["use"] == "join" else "instead of"
        text += f" Images of `{extra['source']}`, without landmarks, came {stood} its own training images."
    if started := detector.training.get("initial"):
        text += f" It started from a detector that was trained before ({started})."
    if report["validation"]["images"]:
        text += (
            f" The checkpoint was chosen by its W₁ score on the {report['validation']['images']} labelled validation "
            "images, so the validation scores are slightly optimistic; the test split served nothing but this measure."
        )
    return text


def limits(detector: Detector, report: Facts) -> list[str]:
    """What the model is not good for, a sentence each."""
    size = detector.image_size
    lines = [] if report["test"]["nme"] is not None else ["Its error is unknown: the test split has no landmarks."]
    return [
        *lines,
        f"It sees {size} × {size} pixels and answers on maps of {detector.map_size} × {detector.map_size}.",
        "It expects one object, cut as the `prepare` stage cuts it; it finds none, nor says whether there is one.",
        "Images unlike those it was trained on (pose, age, light, skin, what covers it) may be answered worse than "
        "the mean says; the worst test images are in `results/figures/overlays.png`.",
        "It places landmarks. It is not made to recognise, judge or watch people.",
    ]


def licence(manifest: Facts) -> str:
    """Whose terms hold for the data, the code and the weights."""
    own = manifest.get("licence") or "not stated; ask whoever gave you the images"
    extra = manifest.get("extra")
    further = f"That of the further images, `{extra['source']}`: {extra['licence']}. " if extra else ""
    return (
        f"Source: `{source(manifest)}`. Licence of the data: {own}. {further}The code is under the MIT licence; "
        "the weights were made from the data, so whoever passes them on has to respect the data's licence."
    )


def source(manifest: Facts) -> str:
    """The name of the data set."""
    return str(manifest.get("source") or "unknown")


def python(detector: Detector) -> str:
    """The lines that use the detector."""
    return _PYTHON.format(size=detector.image_size, landmarks=len(detector.scheme.names))


def number(value: float | None) -> str:
    """Two decimals; a dash where nothing was measured."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"


def listed(values: Facts) -> str:
    """`name value, …`; a mapping inside keeps its name before its own list."""
    return ", ".join(f"{k} ({listed(v)})" if isinstance(v, Mapping) else f"{k} {v}" for k, v in values.items())
