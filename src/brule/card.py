"""models/README.md: the model card in the Hugging Face form, from measured numbers only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from brule.data.schemes import IBUG68
from brule.detector import Detector

Facts = Mapping[str, Any]

_ROWS = {"": "**detector**", "floor_": "floor: the barycenter everywhere"}
_ROWS |= {"oracle_similarity_": "oracle: the best similarity of it for each face"}
_ROWS |= {"oracle_affine_": "oracle: the best affine map of it for each face"}
SAMPLES = {"nme": "NME, %", "nme_floor": "floor, %", "drift": "drift, %", "diversity": "diversity"}
"""Scores of the GAN's images → heads of their table."""
_SAW = {
    "unsupervised": "Images without landmarks, and an unpaired set of landmark shapes. "
    "No training image was seen with its own landmarks.",
    "semi-supervised": "Images without landmarks, and the labelled images of the training split with theirs.",
    "supervised": "The labelled images of the training split with their landmarks.",
}
_USE = """\
```python
import brule

detector = brule.load("models/detector.safetensors")
found = detector.predict("photo.jpg", box)  # x, y, width, height of the landmarks' box, as far as it is known
found.points, found.confidence, found.names  # ({landmarks}, 2) pixels of the photo, {landmarks} numbers in [0, 1]
points = detector.points(crops)  # prepared crops, uint8 (N, {size}, {size}, 3) → (N, {landmarks}, 2) in [0, 1]²
```

Without a box it looks at the largest square in the middle of the photo; `refine=True` looks again, close around what
was found first. The same from a terminal: `brule predict PHOTO…`; `brule predict --help` explains it."""


def write(detector: Detector, report: Facts, manifest: Facts, trained: Facts) -> str:
    """The card's text, from results/metrics.json, data/faces/manifest.json and results/train.json."""
    landmarks, source = len(detector.scheme.names), _source(manifest)
    kind = "facial landmarks" if detector.scheme == IBUG68 else "landmarks"
    mode = str(detector.training.get("mode", "unknown"))
    use = _USE.format(size=detector.image_size, landmarks=landmarks)
    sections = [
        _front(mode, kind, report, manifest),
        f"# A detector of {landmarks} {kind}",
        f"Trained by `brule` ({mode}) on the data set `{source}`. {verdict(report['test'])}",
        "## Measured",
        _scores(report),
        _parts(report["test"]),
        _speed(report),
        _generated(report),
        "## What training saw",
        _saw(detector, mode, manifest, report),
        "## Use",
        use,
        "## Limits",
        _limits(detector, report),
        "## Data and licence",
        _licence(manifest),
        "## Where it comes from",
        _origin(detector, trained),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


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


def _front(mode: str, kind: str, report: Facts, manifest: Facts) -> str:
    """YAML front matter. Every scalar is written as JSON, which YAML contains."""
    source, test = json.dumps(_source(manifest)), report["test"]
    lines = ["library_name: brule", "pipeline_tag: keypoint-detection", "license: other"]
    lines += [f"license_name: {json.dumps(str(manifest.get('licence') or 'that of the training data'))}"]
    lines += ["tags:", f"- {kind.replace(' ', '-')}", "- landmark-detection", f"- {mode}"]
    if test["nme"] is not None:
        lines += ["model-index:", "- name: brule", "  results:", "  - task:", "      type: keypoint-detection"]
        lines += ["    dataset:", f"      name: {source}", f"      type: {source}", "      split: test", "    metrics:"]
        for name, unit in {"nme": "%", "w1": "%", "auc_08": "0…1", "failure_08": "0…1"}.items():
            lines += [f"    - type: {name}", f"      value: {test[name]:.6g}", f'      name: "{name} ({unit})"']
    return "\n".join(["---", *lines, "---"])


def _scores(report: Facts) -> str:
    """The table of errors, floor and oracles beside them."""
    head = ["error, % of the normalising distance", "test NME", "test W₁", "validation NME", "validation W₁"]
    rows = []
    for prefix, label in _ROWS.items():
        cells = [report[split].get(f"{prefix}{score}") for split in ("test", "validation") for score in ("nme", "w1")]
        rows.append([label, *(_number(cell) for cell in cells)])
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
    return f"{_table(head, rows)}\n\n{text}"


def _parts(test: Facts) -> str:
    parts = test.get("parts")
    return _table(["test NME by part, %", *parts], [["detector", *map(_number, parts.values())]]) if parts else ""


def _speed(report: Facts) -> str:
    rate = report["images_per_second"]
    alarms = report["alarms"]
    pace = "" if rate is None else f"{rate:.0f} images a second where it was measured. "
    return pace + ("No monitor of collapse fires." if not alarms else f"Monitors of collapse: {'; '.join(alarms)}.")


def samples(scores: Facts) -> list[str]:
    """The scores of the GAN's images, in the order of SAMPLES."""
    return [_number(scores[name]) for name in SAMPLES]


def _generated(report: Facts) -> str:
    """The GAN's images in a table and in words; nothing where no GAN was trained."""
    scores = report["samples"]
    if not scores["shapes"]:
        return ""
    shapes = "shapes of validation images" if report["validation"]["images"] else "of the unpaired shapes"
    return (
        _table(["images by the GAN", *SAMPLES.values()], [["G(shape, z)", *samples(scores)]])
        + f"\n\nOver {scores['shapes']} {shapes}, two random styles z each. NME: the landmarks that this detector, "
        "which learned together with G, finds on G(shape, z), against the shape. Floor: against the shape of another "
        "image, as if G ignored what it is asked for. Drift: how far landmarks move from one z to the other. "
        "Diversity: the L1 distance of two images of one shape over that of two real images."
    )


def _saw(detector: Detector, mode: str, manifest: Facts, report: Facts) -> str:
    text = _SAW.get(mode, "What it was is not recorded.")
    counts = manifest.get("counts")
    if isinstance(counts, Mapping) and counts:
        text += f" Counts of the prepared data: {_listed(counts)}."
    if extra := manifest.get("extra"):
        stood = "beside" if extra["use"] == "join" else "instead of"
        text += f" Images of `{extra['source']}`, without landmarks, came {stood} its own training images."
    if started := detector.training.get("initial"):
        text += f" It started from a detector that was trained before ({started})."
    if report["validation"]["images"]:
        text += (
            f" The checkpoint was chosen by its W₁ score on the {report['validation']['images']} labelled validation "
            "images, so the validation scores are slightly optimistic; the test split served nothing but this card."
        )
    return text


def _limits(detector: Detector, report: Facts) -> str:
    size = detector.image_size
    lines = [
        f"It sees {size} × {size} pixels and answers on maps of {detector.map_size} × {detector.map_size}.",
        "It expects one object, cut as the `prepare` stage cuts it; it finds none, nor says whether there is one.",
        "Images unlike those it was trained on (pose, age, light, skin, what covers it) may be answered worse than "
        "the mean says; the worst test images are in `results/figures/overlays.png`.",
        "It places landmarks. It is not made to recognise, judge or watch people.",
    ]
    if report["test"]["nme"] is None:
        lines.insert(0, "Its error is unknown: the test split has no landmarks.")
    return "\n".join(f"- {line}" for line in lines)


def _licence(manifest: Facts) -> str:
    licence = manifest.get("licence") or "not stated; ask whoever gave you the images"
    extra = manifest.get("extra")
    further = f"That of the further images, `{extra['source']}`: {extra['licence']}. " if extra else ""
    return (
        f"Source: `{_source(manifest)}`. Licence of the data: {licence}. {further}The code is under the MIT licence; "
        "the weights were made from the data, so whoever passes them on has to respect the data's licence."
    )


def _origin(detector: Detector, trained: Facts) -> str:
    facts = {**detector.training, "seconds of training": trained.get("seconds")}
    facts |= {"MLflow run": trained.get("mlflow_run_id")}
    listed = _listed({name: value for name, value in facts.items() if value is not None})
    return f"`dvc repro` with this repository's `params.yaml` made it: {listed}."


def _source(manifest: Facts) -> str:
    return str(manifest.get("source") or "unknown")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _listed(values: Facts) -> str:
    """`name value, …`; a mapping inside keeps its name before its own list."""
    return ", ".join(f"{k} ({_listed(v)})" if isinstance(v, Mapping) else f"{k} {v}" for k, v in values.items())


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
