"""results/report.html: a whole run on one page, which loads nothing from elsewhere.

The layout and the sentences are in templates/report.html.jinja, the look is in templates/report.css. This module
gathers the facts that they need.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from brule.data.schemes import IBUG68
from brule.detector.model import Detector
from brule.figures.grids import whole
from brule.maths.monitors import LIMITS
from brule.stages import wording
from brule.stages.render import render
from brule.stages.wording import Facts

PICTURES = {
    "barycenter": "barycenter.png",
    "ced": "figures/ced.png",
    "overlays": "figures/overlays.png",
    "samples": "figures/samples.png",
    "history": "figures/history.png",
    "tuning": "figures/tuning.png",
}
"""The names of the pictures → where they are below results/. A seventh, `training`, is the last of results/samples."""
LARGE = 700_000
"""A PNG of more bytes than this is embedded as WebP, so that the seven pictures make a page of at most 6 MB."""
_LONGEST = (2400, 4800)
_LEARNED = {
    "unsupervised": "It learned this without a single annotated image.",
    "semi-supervised": "It learned this from many images, only some of them annotated.",
    "supervised": "It learned this from annotated images.",
}
_COUNTS = {
    "train": "training images",
    "labelled": "training images with landmarks",
    "extra": "extra images",
    "validation": "validation images",
    "test": "test images",
    "shapes": "unpaired shapes",
}


@dataclass(frozen=True)
class Findings:
    """A run that was trained and measured: everything on the page."""

    detector: Detector
    report: Facts
    """The content of results/metrics.json, where a monitor may be infinite, and the detector's speed."""
    trained: Facts
    """results/train.json and results/run.json."""
    manifest: Facts
    """data/crops/manifest.json."""
    parameters: Facts
    """Every parameter under its dotted name, in the order of params.yaml."""
    limits: Mapping[str, float]
    """The limit of each monitor."""
    address: str | None = None
    """The run's page in MLflow."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNGs by name, see PICTURES; the page leaves out those that are missing."""


def gather(results: Path) -> dict[str, bytes]:
    """The PNGs that a run left below results/. Raises BruleError naming one that is damaged."""
    paths = {name: results / path for name, path in PICTURES.items()}
    drawn = sorted((results / "samples").glob("*.png"))
    paths |= {"training": drawn[-1]} if drawn else {}
    there = {name: path for name, path in paths.items() if path.is_file()}
    for path in there.values():
        whole(path)
    return {name: path.read_bytes() for name, path in there.items()}


def page(run: Findings) -> str:
    """The text of results/report.html. Pure: the same run gives the same bytes."""
    return render(
        "report.html",
        run=run,
        report=run.report,
        names=run.detector.scheme.names,
        object="face" if run.detector.scheme == IBUG68 else "object",
        learned=_learned(run.detector),
        measured=_measured(run.report),
        bars=_bars(run.report),
        health=_health(run),
        monitors=_monitors(run),
        pictures={name: _embedded(png) for name, png in run.pictures.items()},
        tuned=run.trained.get("tuned") or {},
        data=_data(run.manifest),
        cost=_cost(run),
        groups=_groups(run.parameters),
        origin=_origin(run),
    )


def _learned(detector: Detector) -> str:
    """From what it learned; nothing where it started from another detector, whose own training is not on record."""
    return "" if detector.training.get("initial") else _LEARNED.get(wording.mode(detector), "")


def _measured(report: Facts) -> str | None:
    """The split whose error stands at the top: test, or validation where test has no landmarks; None: neither has."""
    return next((name for name in ("test", "validation") if report[name]["nme"] is not None), None)


def _bars(report: Facts) -> list[dict[str, Any]]:
    """The error among its yardsticks as bars, the longest of which has the length 1; none without landmarks."""
    split = _measured(report)
    if split is None:
        return []
    order = ("detector", "oracle_affine", "oracle_similarity", "floor")
    values = {name: report[split][wording.key(name, "nme")] for name in order}
    longest = max(values.values()) or 1.0
    return [
        {"name": name, "label": wording.YARDSTICKS[name], "value": value, "length": value / longest}
        for name, value in values.items()
    ]


def _health(run: Findings) -> dict[str, Any]:
    """The banner: the collapse that the run ended in, else the alarms of the checkpoint, else that there are none."""
    alarms, ended = list(run.report["alarms"]), run.trained.get("collapsed")
    if ended:
        sentence = str(ended["sentence"])
        first = f"{sentence[:1].upper()}{sentence[1:]}."
        return {"look": "bad", "sentence": first, "alarms": [alarm for alarm in alarms if alarm != sentence]}
    if alarms:
        return {"look": "warn", "sentence": "This detector shows signs of collapse:", "alarms": alarms}
    if not run.report["monitors"]:
        return {"look": "warn", "sentence": "No images were held out to check for a collapse.", "alarms": []}
    return {"look": "good", "sentence": "There are no signs of collapse.", "alarms": []}


def _monitors(run: Findings) -> list[dict[str, Any]]:
    """The collapse monitors that were measured, with their limits."""
    fired = {alarm.partition(" is ")[0] for alarm in run.report["alarms"]}
    rows = []
    for name in (name for name in run.limits if name in run.report["monitors"]):
        value, limit = run.report["monitors"][name], LIMITS[name]
        rows.append(
            {
                "name": name,
                "value": "–" if value is None else "∞" if math.isinf(value) else f"{value:.3g}",
                "healthy": f"{'≤' if limit.above else '≥'} {run.limits[name]:.3g}",
                "fired": name in fired,
                "meaning": limit.meaning,
                "parameters": limit.parameter,
            }
        )
    return rows


def _embedded(png: bytes) -> dict[str, Any]:
    """A picture for a data: address. A PNG stays as it is, unless it is large: then it becomes a WebP, and smaller."""
    kind, data = "png", png
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        width, height = picture.size
        if len(png) > LARGE:
            small = picture.convert("RGB")
            small.thumbnail(_LONGEST, Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            small.save(stream, "WEBP", quality=88, method=4)
            kind, data, (width, height) = "webp", stream.getvalue(), small.size
    return {"kind": kind, "data": base64.b64encode(data).decode(), "width": width, "height": height}


def _data(manifest: Facts) -> dict[str, Any]:
    """What was prepared for training."""
    counts = {_COUNTS.get(name, name): count for name, count in (manifest.get("counts") or {}).items()}
    return {**counts, "list of labelled images": manifest.get("labelled") or None}


def _cost(run: Findings) -> dict[str, Any]:
    """What training and inference took; None is not on record."""
    trained, detector = run.trained, run.detector
    seconds = trained.get("seconds")
    weights = sum(each.numel() for each in detector.encoder.parameters())
    return {
        "training": seconds and _duration(seconds),
        "training speed": _rate(trained.get("images_per_second")),
        "threads": trained.get("threads"),
        "precision": trained.get("precision"),
        "inference": _rate(run.report["images_per_second"]),
        "input": f"{detector.image_size} × {detector.image_size} px",
        "heatmaps": f"{detector.map_size} × {detector.map_size}",
        "weights": f"{weights:,}".replace(",", " "),
    }


def _duration(seconds: float) -> str:
    """In the unit that reads best: `312 s`, `23.2 min`, `4.1 h`."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _rate(images: float | None) -> str | None:
    return None if images is None else f"{images:.4g} images per second"


def _groups(parameters: Facts) -> dict[str, dict[str, Any]]:
    """The parameters in the groups of params.yaml: {"loss": {"c5": 20, …}, …}."""
    groups = groupby(parameters.items(), key=lambda item: item[0].partition(".")[0])
    return {group: {name.partition(".")[2] or name: value for name, value in items} for group, items in groups}


def _origin(run: Findings) -> dict[str, Any]:
    """What identifies the run elsewhere; None is not on record."""
    training = run.detector.training
    return {
        "MLflow run": run.trained.get("mlflow_run_id"),
        "MLflow experiment": run.parameters.get("tracking.experiment"),
        "fingerprint": run.trained.get("fingerprint") or training.get("fingerprint"),
        "iteration": run.trained.get("best_iteration"),
        "mode": training.get("mode"),
        "started from": training.get("initial"),
    }
