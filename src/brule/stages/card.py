"""models/README.md: the model card in Hugging Face form, with nothing but measured numbers.

The text is in templates/card.md.jinja; this module adds the facts that only the card needs.
"""

from __future__ import annotations

import re

from brule.detector.model import Detector
from brule.stages import wording
from brule.stages.render import render
from brule.stages.wording import Facts


def write(detector: Detector, report: Facts, manifest: Facts, trained: Facts) -> str:
    """The card's text, from what `evaluate` found, data/crops/manifest.json, and results/train.json with run.json."""
    return render(
        "card.md",
        detector=detector,
        report=report,
        manifest=manifest,
        mode=wording.mode(detector),
        kind=wording.kind(detector.scheme),
        source=wording.source(manifest),
        licence=_licence(detector, manifest),
        origin=_origin(detector, trained),
    )


def _licence(detector: Detector, manifest: Facts) -> str | None:
    """The data's terms as a name for the weights' licence, such as `research-only`; None: MIT, as the code.

    MIT needs all data to be under it. Weights that started from another detector come from data that are not on record
    here.
    """
    data = [manifest, manifest["extra"]] if manifest.get("extra") else [manifest]
    terms = [str(each.get("licence") or "that of the training data") for each in data]
    if not detector.training.get("initial") and all(re.match(r"MIT\b", text) for text in terms):
        return None
    words = [re.findall(r"[a-z0-9.]+", text.partition("(")[0].lower().replace("'", "")) for text in terms]
    name = "-and-".join(dict.fromkeys("-".join(each) for each in words if each))
    return name or "that-of-the-training-data"


def _origin(detector: Detector, trained: Facts) -> str:
    facts = {**detector.training, "seconds of training": trained.get("seconds")}
    facts |= {"MLflow run": trained.get("mlflow_run_id")}
    return wording.listed({name: value for name, value in facts.items() if value is not None})
