"""What a run's numbers mean in words: the sentences that the terminal, the model card and the report share.

They are plain text in which `backticks` mark code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from brule.data.schemes import IBUG68, Scheme
from brule.detector.model import Detector
from brule.errors import counted

Facts = Mapping[str, Any]

YARDSTICKS = {
    "detector": "detector",
    "floor": "floor: barycenter everywhere",
    "oracle_similarity": "oracle: best similarity",
    "oracle_affine": "oracle: best affine map",
}
"""The detector and what it is compared with → how tables and figures label it."""
COLUMNS = {
    ("test", "nme"): "test NME",
    ("test", "w1"): "test W₁",
    ("validation", "nme"): "validation NME",
    ("validation", "w1"): "validation W₁",
}
"""(split, score) → the column heads of the table of errors."""
FEW = 20
"""Below so many photos an error comes with a warning."""
SAMPLES = {
    "nme": "NME, %",
    "nme_floor": "floor, %",
    "drift": "drift, %",
    "diversity": "diversity",
    "frechet": "Fréchet distance",
    "frechet_floor": "its floor",
}
"""Scores of the GAN's images → the column heads of their table."""
EXPLAINED = (
    "The floor is the error of answering with the barycenter, the mean shape, for every image without looking at it. A "
    "detector that does not beat the floor has learned nothing. The oracles know part of the truth: one moves, rotates "
    "and scales the barycenter onto the true landmarks of each image, and the other may also shear and stretch it. A "
    "detector that beats the oracles follows the individual shape of each object, not just its pose."
)
"""What the yardsticks are."""
SHELL = "brule predict photo.jpg --out found --overlay"
USED = (
    "Without a box, the whole photo is searched for the object. If the plausibility is below ½, the answer is unlike "
    "what the detector was trained on. The shell command also draws the landmarks on the photo; `brule predict --help` "
    "lists its options."
)
_SAW = {
    "unsupervised": "Images without landmarks, and a separate set of landmark shapes that belong to none of them. "
    "No training image came with its own landmarks.",
    "semi-supervised": "Images without landmarks, and the labelled training images with their landmarks.",
    "supervised": "The labelled training images with their landmarks.",
}
_PYTHON = """\
import brule

detector = brule.load("models/detector.safetensors")
found = detector.predict("photo.jpg")  # a photo of any format and size
found = detector.predict("photo.jpg", (x, y, width, height))  # if you know the box around the landmarks
found.points, found.confidence, found.names  # ({landmarks}, 2) pixels of the photo, {landmarks} numbers in [0, 1]
found.plausibility  # in [0, 1]
points = detector.points(crops)  # prepared crops, uint8 (N, {size}, {size}, 3) → (N, {landmarks}, 2) in [0, 1]²"""


def title(scheme: Scheme) -> str:
    """What the model is, as a headline."""
    return f"A detector of {len(scheme.names)} {kind(scheme)}"


def kind(scheme: Scheme) -> str:
    """What its landmarks are: `facial landmarks` in iBUG's scheme, else plain `landmarks`."""
    return "facial landmarks" if scheme == IBUG68 else "landmarks"


def mode(detector: Detector) -> str:
    """How it was trained: `unsupervised`, `semi-supervised` or `supervised`."""
    return str(detector.training.get("mode", "unknown"))


def unit(scheme: Scheme) -> str:
    """What the errors are a percentage of."""
    if scheme.normaliser is None:
        return "the diagonal of the box around the landmarks"
    one, other = (scheme.names[index] for index in scheme.normaliser)
    return f"the distance between `{one}` and `{other}`"


def number(value: float | None) -> str:
    """Two decimals, or a dash where nothing was measured."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"


def listed(values: Facts) -> str:
    """`name value, …`; a nested mapping is listed in parentheses after its own name."""
    return ", ".join(f"{k} ({listed(v)})" if isinstance(v, Mapping) else f"{k} {v}" for k, v in values.items())


def verdict(scores: Facts) -> str:
    """The scores of a split in a sentence: the detector against the floor."""
    nme, floor = scores["nme"], scores["floor_nme"]
    if nme is None or floor is None:
        return "There are no landmarks to measure against, so its error is unknown."
    if nme >= floor:
        return (
            f"It does not beat the floor: its error is {nme:.2f} % ({basis(scores)}), while answering with the "
            f"barycenter everywhere gives {floor:.2f} %. It has learned nothing."
        )
    below = f"{100 * (1 - nme / floor):.0f} % below the floor of {floor:.2f} %"
    return f"Its error of {nme:.2f} % ({basis(scores)}) is {below}."


def basis(scores: Facts) -> str:
    """What the error of a split rests on: `± 0.35, 12 photos`. The margin is that of the 95 % interval, if known."""
    margin = scores.get("margin")
    return ("" if margin is None else f"± {margin:.2f}, ") + counted(scores["images"], "photo")


def warnings(report: Facts) -> list[str]:
    """A sentence where an error rests on fewer than FEW photos, and what to do."""
    few = {name: report[name]["images"] for name in ("test", "validation")}
    few = {name: count for name, count in few.items() if 0 < count < FEW}
    if not few:
        return []
    errors = " and ".join(f"the {name} error rests on {counted(count, 'photo')}" for name, count in few.items())
    keys = " or ".join(f"`prepare.{name}`" for name in few)
    return [
        f"Read it with caution: {errors}. With fewer than {FEW}, another choice of photos may give quite another "
        f"number. Label more photos, or raise {keys}."
    ]


def heads(report: Facts) -> list[str]:
    """The column heads of the table of errors, each with the number of photos that its column rests on."""
    return [f"{head} ({counted(report[split]['images'], 'photo')})" for (split, _), head in COLUMNS.items()]


def errors(report: Facts) -> list[list[str]]:
    """The rows of the table of errors: the label, then a number for each of COLUMNS."""
    return [
        [label, *(number(report[split].get(key(name, score))) for split, score in COLUMNS)]
        for name, label in YARDSTICKS.items()
    ]


def key(yardstick: str, score: str) -> str:
    """The name of a yardstick's score in results/metrics.json: `nme` of the detector, `floor_nme` of the floor."""
    return score if yardstick == "detector" else f"{yardstick}_{score}"


def measured(report: Facts) -> str:
    """How many images were measured, what the scores are, and how the errors spread over the test split."""
    test, validation = report["test"], report["validation"]
    text = (
        f"Measured on {test['images']} labelled test images and {validation['images']} labelled validation images. NME "
        "compares each landmark with its own true position. The W₁ score compares the two sets of points and ignores "
        "which point is which."
    )
    if test["nme"] is not None:
        text += (
            f"{_interval(test)} On the test split, the area under the cumulative error curve up to 8 % is "
            f"{test['auc_08']:.3f}; "
            f"{100 * test['failure_08']:.1f} % of the images have an error above 8 %, and "
            f"{100 * test['failure_10']:.1f} % have one above 10 %."
        )
    return text


def _interval(scores: Facts) -> str:
    """How sure the mean error is; older reports do not say."""
    if (margin := scores.get("margin")) is None:
        return ""
    low, high = max(0.0, scores["nme"] - margin), scores["nme"] + margin
    return f" The 95 % confidence interval of the test NME is {low:.2f} to {high:.2f} % (Student's t over the photos)."


def samples(scores: Facts) -> list[str]:
    """The scores of the GAN's images, in the order of SAMPLES."""
    return [number(scores[name]) for name in SAMPLES]


def sampled(report: Facts) -> str:
    """What the scores of the GAN's images mean."""
    shapes = "validation shapes" if report["validation"]["images"] else "unpaired shapes"
    text = (
        f"Measured on {report['samples']['shapes']} {shapes}, with two random styles z for each. NME: the landmarks "
        "that this detector, trained together with G, finds on G(shape, z), compared with the shape. Floor: the same, "
        "compared with the shape of another image, as if G ignored its input. Drift: how far the landmarks move when z "
        "changes. Diversity: the L1 distance between two images of the same shape, divided by that between two real "
        "images."
    )
    if report["samples"]["frechet"] is not None:
        text += (
            f" Fréchet distance: how far {report['samples']['frechet_images']} images by G, of unpaired shapes and in "
            "any random style, are from as many training images. It grows with blur, noise, wrong colours and a lack "
            "of variety. Its floor is the distance between two sets of training images: what images as good as real "
            "ones would have. A fixed random network says how images look, so the number compares runs on the same "
            "data, and is not the FID that others report."
        )
    return text


def saw(detector: Detector, manifest: Facts, report: Facts) -> str:
    """What training was shown, and how the checkpoint was chosen."""
    text = f"{trained_on(detector)} {_SAW.get(mode(detector), '')}".strip()
    counts = manifest.get("counts")
    if isinstance(counts, Mapping) and counts:
        text += f" Size of the prepared data: {listed(counts)}."
    if extra := manifest.get("extra"):
        role = "together with" if extra["use"] == "join" else "instead of"
        text += f" Images from `{extra['source']}`, without landmarks, were used {role} its own training images."
    if origin := detector.training.get("initial"):
        text += f" Training started from an existing detector ({origin})."
    if report["validation"]["images"]:
        text += (
            f" The checkpoint was chosen by its W₁ score on the {report['validation']['images']} labelled validation "
            "images, so the validation scores are slightly optimistic. The test split was used only for this "
            "evaluation."
        )
    return text


def trained_on(detector: Detector) -> str:
    """What the detector was trained on, as its own file tells it: the source, how many images, labels and shapes."""
    facts = detector.training
    if facts.get("images") is None:
        known = f" beyond its mode, {mode(detector)}" if "mode" in facts else ""
        return f"What it was trained on is not on record in its file{known}."
    shapes, labelled = facts.get("shapes"), facts.get("labelled")
    with_labels = f", {labelled} of them with their landmarks," if labelled else " without their landmarks"
    origin = f" of `{facts['source']}`" if facts.get("source") else ""
    given = f" and {shapes} unpaired {'shape' if shapes == 1 else 'shapes'}" if shapes else ""
    return f"Trained ({mode(detector)}) on {facts['images']} images{origin}{with_labels}{given}."


def limits(detector: Detector, report: Facts) -> list[str]:
    """What the model is not good for, one sentence each."""
    size, maps = detector.image_size, detector.map_size
    conditions = "pose, age, lighting, skin, occlusion" if detector.scheme == IBUG68 else "pose, lighting, occlusion"
    lines = [] if report["test"]["nme"] is not None else ["Its error is unknown: the test split has no landmarks."]
    return [
        *lines,
        f"It sees {size} × {size} pixels and predicts heatmaps of {maps} × {maps}.",
        "It answers one object a photo, of several plausible ones the largest, and it answers even if there is none. "
        "The plausibility is low then.",
        f"On images that differ from the training images ({conditions}) it may do worse than its mean error suggests. "
        "The worst test images are in `results/figures/overlays.png`.",
        "It places landmarks. It is not meant for recognising, judging or monitoring people.",
    ]


def licence(manifest: Facts) -> str:
    """Whose terms apply to the data, the code and the weights."""
    own = manifest.get("licence") or "not stated; ask whoever gave you the images"
    extra = manifest.get("extra")
    further = f"Licence of the extra images, `{extra['source']}`: {extra['licence']}. " if extra else ""
    return (
        f"Source: `{source(manifest)}`. Licence of the data: {own}. {further}The code is under the MIT licence. The "
        "weights were made from the data, so anyone who passes them on must respect the data's licence."
    )


def source(manifest: Facts) -> str:
    """The name of the data set."""
    return str(manifest.get("source") or "unknown")


def python(detector: Detector) -> str:
    """The lines of Python that use the detector."""
    return _PYTHON.format(size=detector.image_size, landmarks=len(detector.scheme.names))
