"""How it came about: the course of training, its health, its data, its cost, and how to have it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from brule.maths.metrics import LIMITS
from brule.stages import wording
from brule.stages.report.findings import Findings
from brule.stages.report.html import Html, bullets, code, definitions, details, join, paragraph, table, tag
from brule.stages.report.pictures import figure

_COUNTS = {"train": "training images", "labelled": "training images with landmarks", "extra": "further images"}
_COUNTS |= {"validation": "validation images", "test": "test images", "shapes": "unpaired shapes"}


def health(run: Findings) -> Html:
    """The collapse that the run ended in, or the alarms of the checkpoint, or that there are none."""
    alarms = list(run.report["alarms"])
    ended = run.trained.get("collapsed")
    if ended:
        sentence = str(ended["sentence"])
        rest = [alarm for alarm in alarms if alarm != sentence]
        first = f"{sentence[:1].upper()}{sentence[1:]}."
        return tag("div", paragraph(first), bullets(rest) if rest else "", class_="banner bad", role="alert")
    if alarms:
        text = "Monitors of collapse fire for this detector:"
        return tag("div", paragraph(text), bullets(alarms), class_="banner warn", role="alert")
    if not run.report["monitors"]:
        return tag("div", paragraph("No image was held out to look for a collapse."), class_="banner warn")
    return tag("div", paragraph("No monitor of collapse fires."), class_="banner good")


def training(run: Findings) -> Html:
    """The curves."""
    picture = figure(
        run,
        "history",
        "Curves of the validation error, the monitors of collapse and every loss over the iterations",
        "Above, the error on the validation split against its floor; a cross marks a validation at which a monitor of "
        "collapse was beyond its limit. Below, the monitors with their limits as dashed lines, and every loss.",
        wide=True,
    )
    chosen = run.trained.get("best_iteration")
    text = "" if chosen is None else f"The detector that was kept is that of iteration {chosen}."
    return join(tag("h2", "How it was trained"), paragraph(text), picture) if picture or text else Html()


def monitors(run: Findings) -> Html:
    """The monitors of the detector that ships beside their limits, in colour and in words."""
    if not run.report["monitors"]:
        return Html()
    fired = {alarm.partition(" is ")[0] for alarm in run.report["alarms"]}
    values = run.report["monitors"]
    rows = [_monitor(run, name, values[name], name in fired) for name in run.limits if name in values]
    text = (
        "A network that learns without labels can fall into an answer that pleases its losses and means nothing. The "
        "monitors tell that without labels. These are those of the detector that was kept, on held-out images."
    )
    heads = ["monitor", "value", "healthy", "state", "beyond its limit", "then look at"]
    return join(tag("h2", "Signs of collapse"), paragraph(text), table(heads, rows, "monitors"))


def _monitor(run: Findings, name: str, value: float | None, fired: bool) -> list[str]:
    limit, sign = LIMITS[name], "≤" if LIMITS[name].above else "≥"
    state = tag("span", "beyond" if fired else "within", class_="chip warn" if fired else "chip good")
    known = "–" if value is None else "∞" if math.isinf(value) else f"{value:.3g}"
    return [name, known, f"{sign} {run.limits[name]:.3g}", state, limit.meaning, tag("code", limit.parameter)]


def tuning(run: Findings) -> Html:
    """The search for the coefficients in the course of the run, where there was one."""
    found = run.trained.get("tuned") or {}
    path = figure(
        run,
        "tuning",
        "The score of every trial and the path of every coefficient",
        "The score of every trial and the best so far; below, each coefficient as a multiple of its first value.",
    )
    if not found and not path:
        return Html()
    listed = found.get("coefficients") or {}
    rows = [(name, _value(value)) for name, value in listed.items()]
    scores = found.get("first"), found.get("best")
    text = f"The search took {found['trials']} trials" if "trials" in found else "A search ran during training"
    text += f"; W₁ on validation went from {scores[0]:.2f} to {scores[1]:.2f} %." if None not in scores else "."
    return join(tag("h2", "The search for the coefficients"), paragraph(text), definitions(rows) if rows else "", path)


def data(run: Findings) -> Html:
    """What training saw, and on whose terms."""
    manifest, facts = run.manifest, [("source", wording.source(run.manifest))]
    counts = manifest.get("counts") or {}
    facts += [(_COUNTS.get(name, name), str(value)) for name, value in counts.items()]
    facts += [("labels from", str(manifest["labelled"]))] if manifest.get("labelled") else []
    bare = {name: value for name, value in manifest.items() if name != "counts"}
    return join(
        tag("h2", "What training saw"),
        paragraph(wording.saw(run.detector, bare, run.report)),
        definitions(facts),
        paragraph("Images and shapes came from different photos.") if manifest.get("halves") else "",
        paragraph(wording.licence(manifest)),
    )


def cost(run: Findings) -> Html:
    """What training and answering took."""
    trained, speed = run.trained, run.report["images_per_second"]
    seconds, weights = trained.get("seconds"), sum(each.numel() for each in run.detector.encoder.parameters())
    size, maps = run.detector.image_size, run.detector.map_size
    facts = {
        "training": seconds and _duration(seconds),
        "training speed": _per_second(trained.get("images_per_second")),
        "threads": trained.get("threads"),
        "precision": trained.get("precision"),
        "arithmetic": trained.get("tflops") and f"{trained['tflops']:.4g} TFLOP/s",
        "answering": _per_second(speed),
        "sees": f"{size} × {size} px",
        "answers on": f"maps of {maps} × {maps}",
        "weights": f"{weights:,}".replace(",", " "),
    }
    return join(tag("h2", "What it cost"), definitions(_known(facts)))


def _known(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(n, value if isinstance(value, str) else str(value)) for n, value in facts.items() if value is not None]


def _per_second(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.4g} images a second"


def _duration(seconds: float) -> str:
    """In the unit that reads best: `312 s`, `23.2 min`, `4.1 h`."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def use(run: Findings) -> Html:
    """The lines that use the detector, and what it is not good for."""
    return join(
        tag("h2", "How to use it"),
        code(wording.python(run.detector)),
        code(wording.SHELL),
        paragraph(wording.USED),
        tag("h3", "Limits"),
        bullets(wording.limits(run.detector, run.report)),
    )


def parameters(run: Findings) -> Html:
    """All of them, folded up, in the groups of params.yaml."""
    groups = groupby(run.parameters.items(), key=lambda item: item[0].partition(".")[0])
    folded = [
        details(group, definitions((name.partition(".")[2] or name, _value(value)) for name, value in items))
        for group, items in groups
    ]
    text = "Every number of the run, as `params.yaml` had it."
    return join(tag("h2", "Parameters"), paragraph(text), tag("div", *folded, class_="groups")) if folded else Html()


def _value(value: Any) -> str:
    """As YAML writes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def origin(run: Findings) -> Html:
    """What to look up elsewhere: the run in MLflow, the fingerprint, the files."""
    trained, training = run.trained, run.detector.training
    id = trained.get("mlflow_run_id")
    wanted = {
        "MLflow run": tag("a", id, href=run.address) if id and run.address else id,
        "MLflow experiment": run.parameters.get("tracking.experiment"),
        "fingerprint": trained.get("fingerprint") or training.get("fingerprint"),
        "iteration": trained.get("best_iteration"),
        "mode": training.get("mode"),
        "started from": training.get("initial"),
    }
    text = (
        "The link leads to the run's curves, pictures and parameters: on a server, or on 127.0.0.1:5000, where "
        "`mlflow ui` in the project's folder shows all runs. The fingerprint names the parameters and the data that "
        "training was given. The numbers of this page are in `results/metrics.json` and `results/train.json`, the "
        "model card is `models/README.md`."
    )
    return join(tag("h2", "Where it comes from"), definitions(_known(wanted)), code("mlflow ui"), paragraph(text))
