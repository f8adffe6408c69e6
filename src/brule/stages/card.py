"""models/README.md: the model card in the Hugging Face form, from measured numbers only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from brule.detector.model import Detector
from brule.stages import wording
from brule.stages.wording import Facts, number

_METRICS = {"nme": "NME (%)", "w1": "W₁ score (%)", "auc_08": "AUC below 8 % (0…1)"}
_METRICS |= {"failure_08": "share of images worse than 8 % (0…1)"}
_USE = """\
```python
{python}
```

```sh
{shell}
```

{used}"""


def write(detector: Detector, report: Facts, manifest: Facts, trained: Facts) -> str:
    """The card's text, from results/metrics.json, data/crops/manifest.json and results/train.json."""
    mode, source = wording.mode(detector), wording.source(manifest)
    use = _USE.format(python=wording.python(detector), shell=wording.SHELL, used=wording.USED)
    sections = [
        _front(detector, report, manifest),
        f"# {wording.title(detector.scheme)}",
        f"Trained by `brule` ({mode}) on the data set `{source}`. {wording.verdict(report['test'])}",
        "## Intended use",
        _intended(detector, manifest),
        "## Limits",
        "\n".join(f"- {line}" for line in wording.limits(detector, report)),
        "## How to use it",
        use,
        "## Training data and licence",
        wording.saw(detector, manifest, report),
        wording.licence(manifest),
        "## Evaluation",
        _scores(detector, report),
        _parts(report["test"]),
        _speed(report),
        _generated(report),
        "## Where it comes from",
        _origin(detector, trained),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front(detector: Detector, report: Facts, manifest: Facts) -> str:
    """YAML front matter. Every scalar is written as JSON, which YAML contains."""
    source, test = json.dumps(wording.source(manifest)), report["test"]
    lines = ["library_name: brule", "pipeline_tag: keypoint-detection", *_licence(detector, manifest)]
    tags = (wording.kind(detector.scheme).replace(" ", "-"), "landmark-detection", wording.mode(detector))
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))]
    if test["nme"] is not None:
        lines += ["model-index:", "- name: brule", "  results:", "  - task:", "      type: keypoint-detection"]
        lines += ["      name: Keypoint Detection", "    dataset:", f"      type: {source}", f"      name: {source}"]
        lines += ["      split: test", "    metrics:"]
        for name, title in _METRICS.items():
            lines += [f"    - type: {name}", f"      value: {test[name]:.6g}"]
            lines += [f"      name: {json.dumps(title, ensure_ascii=False)}"]
    return "\n".join(["---", *lines, "---"])


def _licence(detector: Detector, manifest: Facts) -> list[str]:
    """MIT, as the code, where all data are; else `other` and the data's own terms as a name such as `research-only`.

    Weights that began as another detector's come from data that are not on record here.
    """
    data = [manifest, manifest["extra"]] if manifest.get("extra") else [manifest]
    terms = [str(each.get("licence") or "that of the training data") for each in data]
    if not detector.training.get("initial") and all(re.match(r"MIT\b", text) for text in terms):
        return ["license: mit"]
    words = [re.findall(r"[a-z0-9.]+", text.partition("(")[0].lower().replace("'", "")) for text in terms]
    name = "-and-".join(dict.fromkeys("-".join(each) for each in words if each))
    return ["license: other", f"license_name: {json.dumps(name or 'that-of-the-training-data')}"]


def _intended(detector: Detector, manifest: Facts) -> str:
    return (
        f"To find {len(detector.scheme.names)} named {wording.kind(detector.scheme)} on images like those of "
        f"`{wording.source(manifest)}`, one object an image, within the terms of the data's licence (below); and to "
        "study what can be learned with few labels or none. What it is not for stands under the limits."
    )


def _scores(detector: Detector, report: Facts) -> str:
    """The table of errors, floor and oracles beside them, and what they mean."""
    first, *others = wording.errors(report)
    table = _table(["error, %", *wording.COLUMNS.values()], [[f"**{first[0]}**", *first[1:]], *others])
    unit = f"Errors are in percent of {wording.unit(detector.scheme)}."
    return f"{table}\n\n{wording.measured(report)} {unit}\n\n{wording.YARDSTICKS}"


def _parts(test: Facts) -> str:
    parts = test.get("parts")
    return _table(["test NME by part, %", *parts], [["detector", *map(number, parts.values())]]) if parts else ""


def _speed(report: Facts) -> str:
    rate = report["images_per_second"]
    alarms = report["alarms"]
    pace = "" if rate is None else f"{rate:.0f} images a second where it was measured. "
    return pace + ("No monitor of collapse fires." if not alarms else f"Monitors of collapse: {'; '.join(alarms)}.")


def _generated(report: Facts) -> str:
    """The GAN's images in a table and in words; nothing where no GAN was trained."""
    if not report["samples"]["shapes"]:
        return ""
    row = ["G(shape, z)", *wording.samples(report["samples"])]
    return f"{_table(['images by the GAN', *wording.SAMPLES.values()], [row])}\n\n{wording.sampled(report)}"


def _origin(detector: Detector, trained: Facts) -> str:
    facts = {**detector.training, "seconds of training": trained.get("seconds")}
    facts |= {"MLflow run": trained.get("mlflow_run_id")}
    listed = wording.listed({name: value for name, value in facts.items() if value is not None})
    made = f"`dvc repro` with this repository's `params.yaml` made it: {listed}."
    return f"{made} `results/report.html` shows the whole run on one page."


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
