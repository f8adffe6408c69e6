"""The `evaluate` stage: the detector measured on images that training never saw, as numbers, figures, card and page."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from brule import figures, files, machine, tracking
from brule.config import Config, flatten
from brule.data import prepared
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.maths import metrics, monitors
from brule.stages import card, records, wording
from brule.stages.gan_scores import likeness, measure_samples, requested_shapes, sample_rows
from brule.stages.records import RESULTS
from brule.stages.report import Findings, gather, page
from brule.stages.scores import Floats, Measurements, collapse_monitors, evenly, measure, speed
from brule.tracking import registry
from brule.tracking.registry import Measured

MODELS = Path("models")
FIGURES = RESULTS / "figures"
_BATCH = 64
_BLOCK = 1024
"""Images whose digest is taken at once."""
_CURVES = ("detector", "floor", "oracle_affine", "oracle_similarity")
_THRESHOLDS = np.linspace(0, 30, 301)


def evaluate(config: Config) -> dict[str, Any]:
    """Write results/metrics.json, ced.csv, figures and report.html, and models/README.md; return the metrics.

    The MLflow run of the training is continued, and the detector becomes a version of the model `tracking.model` in
    MLflow's registry. A split without landmarks has null scores, and its figures show the answers alone. Raises
    BruleError naming an input that is missing, damaged or made for other landmarks.
    """
    detector = Detector.load(MODELS / "detector.safetensors", machine.device(config.machine.device))
    again = "run the train stage again"
    trained, course = records.trained(again), records.history(again)
    manifest, unpaired = prepared.load_manifest(prepared.CROPS), prepared.load_shapes(prepared.CROPS)
    X_b, gan, batch = _barycenter(detector), _gan(detector), config.evaluate.batch_size or _BATCH
    healthy = monitors.values(unpaired, X_b, detector.scheme.normaliser)
    with _tracked(config, "evaluate", detector, trained, course) as run:
        held_out = {name: prepared.load(prepared.CROPS, name, labels=True) for name in ("test", "validation")}
        splits = {name: measure(detector, part, X_b, batch) for name, part in held_out.items()}
        seen = splits["test" if len(splits["test"].images) else "validation"]
        report: dict[str, Any] = {name: split.scores for name, split in splits.items()}
        # On the images on which training watched for a collapse, so that both agree about the checkpoint.
        watched = splits["validation" if len(splits["validation"].images) else "test"]
        report["monitors"] = collapse_monitors(detector, watched.images, X_b)
        report["alarms"] = _ended(trained) + monitors.alarms(report["monitors"], healthy)
        shapes = requested_shapes(splits["validation"].truth, unpaired)
        report["samples"] = measure_samples(gan, detector, shapes, splits["validation"].images, batch)
        taught = prepared.load(prepared.CROPS, "train", labels=False)
        report["samples"] |= likeness(gan, unpaired, taught.images, batch)
        files.write_json(RESULTS / "metrics.json", _finite(report))
        report["images_per_second"] = speed(detector, seen.images, batch)  # another one each time: no metric for git
        files.write_text(RESULTS / "ced.csv", ced_table(splits["test"]))
        shutil.rmtree(FIGURES, ignore_errors=True)  # figures of an earlier run must not appear in this one
        draw(detector, splits, config.evaluate.overlays, healthy, course)
        if gan.iterations:
            rows, requested = sample_rows(gan, shapes, config.evaluate.overlays)
            figures.sample_grid(rows, requested, FIGURES / "samples.png", detector.scheme, marked=2)
        files.write_text(MODELS / "README.md", card.write(detector, report, manifest, trained))
        limits, address = monitors.bounds(healthy), run.address()
        found = Findings(detector, report, trained, manifest, flatten(config), limits, address, gather(RESULTS))
        files.write_text(RESULTS / "report.html", page(found))
        _log(run, report, int(trained.get("best_iteration", 0)))
        _register(run, config, report, splits["validation"], detector)
    return report


def register(config: Config) -> bool:
    """Register the detector in models/ with what `evaluate` found, though MLflow has never seen its training.

    So it is after `dvc pull`: nothing has to run again, and MLflow is empty. Returns whether it is registered now.
    Raises BruleError if models/ and results/ are not of one run.
    """
    if config.tracking.model is None:
        raise BruleError("tracking.model is null in params.yaml, so nothing is registered; give the model a name")
    detector = Detector.load(MODELS / "detector.safetensors", machine.device(config.machine.device))
    trained = records.trained("run dvc pull", run=(RESULTS / "run.json").exists())
    report = records.report("run dvc pull")
    crops = prepared.load(prepared.CROPS, "validation", labels=True)
    validation = measure(detector, crops, _barycenter(detector), config.evaluate.batch_size or _BATCH)
    found, told = validation.scores["nme"], report["validation"]["nme"]
    same = found == told if found is None or told is None else math.isclose(found, told, rel_tol=0.01)
    if not same:
        raise BruleError(
            f"{RESULTS}/metrics.json is not that of {MODELS}/detector.safetensors, whose validation NME is {found} and "
            f"not {told}; run dvc repro"
        )
    course = records.history("run dvc pull")
    with _tracked(config, "register", detector, trained, course) as run:
        _log(run, report, int(trained.get("best_iteration", 0)))
        return _register(run, config, report, validation, detector)


@contextmanager
def _tracked(
    config: Config, stage: str, detector: Detector, trained: Mapping[str, Any], course: pd.DataFrame
) -> Iterator[tracking.Run]:
    """The run of the training, continued; or a new one with its course, where MLflow does not know it."""
    name = tracking.title(config.data.source, detector.image_size)
    tags = {"weights": files.sha((MODELS / "detector.safetensors").read_bytes())}
    with tracking.run(config, stage=stage, name=name, resume_id=trained.get("mlflow_run_id"), tags=tags) as run:
        if not run.resumed:
            run.params(flatten(config))
            for row in course.to_dict("records"):
                run.history({str(name): value for name, value in row.items() if value == value})  # blank is NaN
        yield run


def _register(
    run: tracking.Run, config: Config, report: Mapping[str, Any], validation: Measurements, detector: Detector
) -> bool:
    measured = _measured(report, validation, detector)
    return registry.register(run, config.tracking.model, MODELS / "detector.safetensors", measured)


def _log(run: tracking.Run, report: Mapping[str, Any], iteration: int) -> None:
    """Pass the numbers, the verdict and the files on to MLflow."""
    # Training has charts of its own named validation/… and monitors/…; these points do not belong on them.
    own = ("test", "samples")
    named = {name: report[name] for name in own} | {"evaluation": {k: v for k, v in report.items() if k not in own}}
    run.metrics(dict(numbers(named)), iteration)
    sentences = (wording.verdict(report["test"]), *wording.warnings(report), *report["alarms"])
    run.tags({"alarms": json.dumps(report["alarms"]), "mlflow.note.content": " ".join(sentences)})
    results = (RESULTS / "metrics.json", RESULTS / "ced.csv", MODELS / "README.md", RESULTS / "report.html")
    for path, folder in {FIGURES: "figures", **dict.fromkeys(results, "results")}.items():
        if path.exists():  # whoever registers may have pulled some of them only
            run.artifact(path, folder)


def _measured(report: Mapping[str, Any], validation: Measurements, detector: Detector) -> Measured:
    """The facts that decide whether this detector takes the place of the best one so far."""
    digest = hashlib.sha256(json.dumps(detector.scheme.to_json()).encode())
    measured: list[npt.NDArray[Any]] = [each for each in (validation.images, validation.truth) if each is not None]
    for array in measured:
        for start in range(0, len(array), _BLOCK):
            digest.update(np.ascontiguousarray(array[start : start + _BLOCK]).tobytes())
    scores = validation.scores
    return Measured(digest.hexdigest()[:16], scores["nme"], scores["floor_nme"], report["alarms"])


def _ended(trained: Mapping[str, Any]) -> list[str]:
    """How the training ended if it collapsed. That is reported even if the detector it wrote is a healthy one."""
    collapsed = trained.get("collapsed")
    return [collapsed["sentence"]] if collapsed else []


def numbers(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """('test/nme', 7.1), …: the numbers of a report under names that MLflow groups. Other values are left out."""
    for name, value in report.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)


def ced_table(split: Measurements) -> str:
    """results/ced.csv: the share of images within each threshold (percent); the cells are empty without landmarks."""
    table = {"threshold": _THRESHOLDS}
    for name in _CURVES:
        missing = np.full(len(_THRESHOLDS), np.nan)
        table[name] = metrics.ced(split.errors[name], _THRESHOLDS) if split.errors else missing
    return str(pd.DataFrame(table).to_csv(index=False, float_format="%.6g"))


def draw(
    detector: Detector,
    splits: Mapping[str, Measurements],
    columns: int,
    healthy: dict[str, float],
    course: pd.DataFrame,
) -> None:
    """results/figures: the distribution of the error, the best, median and worst images, and the course of training."""
    test, validation = splits["test"], splits["validation"]
    curves = {wording.YARDSTICKS[name]: test.errors[name] for name in _CURVES if test.errors}
    figures.ced(curves, FIGURES / "ced.png")
    shown = validation if test.truth is None else test
    blank = [(split, np.setdiff1d(np.arange(len(split.images)), split.known)) for split in (test, validation)]
    blank = [(split, evenly(rest, 3 * columns)) for split, rest in blank]  # there may be more than fit into the memory
    figures.overlays(
        shown.images,
        shown.points,
        shown.truth,
        shown.errors.get("detector"),
        detector.scheme,
        FIGURES / "overlays.png",
        columns=columns,
        labelled=shown.known,
        unlabelled=np.concatenate([split.images[rest] for split, rest in blank]),
        answers=np.concatenate([split.points[rest] for split, rest in blank]),
    )
    limits = monitors.bounds(healthy)
    figures.history(course, FIGURES / "history.png", validation.scores["floor_nme"], limits)
    if "tuning/trial" in course:
        figures.search(course[course["tuning/trial"].notna()].sort_values("tuning/trial"), FIGURES / "tuning.png")


def show(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the scores beside the floor and the oracles, what they mean in words, and where the figures are."""
    console = console or Console()
    heads = (head.replace(" photo", "\N{NO-BREAK SPACE}photo") for head in wording.heads(report))
    table = Table("error, %", *heads)
    for row in wording.errors(report):
        table.add_row(*row)
    console.print(table)
    if report["samples"]["shapes"]:
        table = Table("images by the GAN", *wording.SAMPLES.values())
        table.add_row("G(shape, z)", *wording.samples(report["samples"]))
        console.print(table)
    for sentence in (wording.verdict(report["test"]), *wording.warnings(report), *report["alarms"]):
        console.print(sentence, highlight=False, soft_wrap=True)
    places = {"whole run on one page": RESULTS / "report.html", "figures": FIGURES, "model card": MODELS / "README.md"}
    told = [f"{what}: {path}" for what, path in places.items() if path.exists()]
    told += [] if told else ["the page and the figures of this run are not here; dvc pull brings them, or dvc repro"]
    console.print("; ".join(told), highlight=False, soft_wrap=True)


def _finite(value: Any) -> Any:
    """Replace infinity by null, since JSON has none: the monitor `nearest` of a single landmark is infinite."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _gan(detector: Detector) -> Gan:
    return Gan.load(MODELS / "gan.safetensors", detector.device, (len(detector.scheme.names), detector.image_size))


def _barycenter(detector: Detector) -> Floats:
    X_b = prepared.load_barycenter().astype(np.float64)
    if X_b.shape != detector.barycenter.shape:
        raise BruleError(
            f"{prepared.BARYCENTER} has the shape {X_b.shape}, but the detector answers {len(detector.barycenter)} "
            "landmarks; run `dvc repro` to train it on these data"
        )
    return X_b
