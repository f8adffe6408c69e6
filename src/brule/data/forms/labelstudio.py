"""Label Studio: a JSON of tasks, in full (annotations, predictions) or in the short form JSON-MIN.

A keypoint is in percent of its image's width and height, counted from the edges. Documented at
https://labelstud.io/guide/export, https://labelstud.io/guide/predictions and https://labelstud.io/tags/keypointlabels.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree as ET

from brule.data.crop import SUFFIXES
from brule.data.forms.objects import HALF, File, Marked, Proposal, Sizes, add, as_size, mappings, printable
from brule.data.labels import as_point
from brule.data.schemes import Scheme
from brule.errors import BruleError, quoted

LOCAL = "/data/local-files/?d="
"""What stands before the name of an image that Label Studio reads from a folder of its own machine."""
_NAME, _TO = "landmarks", "image"
"""How the labelling interface calls the landmarks and the image."""


def recognised(raw: Any) -> bool:
    """Whether a JSON has this form."""
    tasks = mappings(raw)
    return bool(tasks) and any(
        isinstance(task.get("data"), dict) or {"annotation_id", "annotator", "lead_time"} & set(task) for task in tasks
    )


def read(path: Path, raw: list[Any], sizes: Sizes) -> File:
    """The annotated objects: of a task that several people annotated, the ground truth, or else the last annotation.

    Landmarks belong to one object if they have the same parent region. Predictions are read by nobody until a person
    has corrected them.
    """
    objects, others, proposed = list[Marked](), 0, 0
    for index, task in enumerate(mappings(raw)):
        where = f"{path}: task {quoted(task.get('id', index))}"
        full = isinstance(task.get("data"), dict)
        if "completions" in task:
            raise BruleError(f"{where}: is of Label Studio before 1.0; export it by a newer one")
        image = _image(task["data"] if full else task)
        proposed += bool(full and task.get("predictions"))
        found = _full(task) if full else [mark for value in task.values() for mark in mappings(value)]
        groups: dict[str, dict[str, Sequence[float]]] = {}
        size = None
        for mark in found:
            value = mark["value"] if isinstance(mark.get("value"), dict) else mark
            names = value.get("keypointlabels")
            if not isinstance(names, list):
                others += 1
                continue
            if len(names) != 1 or not isinstance(names[0], str):
                raise BruleError(f"{where}: a keypoint has {len(names)} labels; give each keypoint the name of one")
            if mark.get("image_rotation"):
                raise BruleError(f"{where}: its image was turned in Label Studio; turn it back, and export again")
            size = as_size(mark.get("original_width"), mark.get("original_height")) or sizes(image)
            if size is None:
                raise BruleError(f"{where}: does not tell the size of its image; export it by a newer Label Studio")
            x, y = as_point([value.get("x"), value.get("y")], f"{where}, {quoted(names[0])}")
            point = [x / 100 * size[0] - HALF, y / 100 * size[1] - HALF]
            add(groups.setdefault(str(mark.get("parentID", "")), {}), names[0], point, where)
        objects += [Marked(where, image, size, points) for points in groups.values()]
    if not objects and proposed:
        raise BruleError(
            f"{path}: holds predictions alone, which nobody has checked; submit them in Label Studio, and export again"
        )
    return File(objects, others=others)


def _full(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The marks of the annotation that counts."""
    given = [each for each in mappings(task.get("annotations")) if not each.get("was_cancelled")]
    best = [each for each in given if each.get("ground_truth")] or given
    marks = mappings(best[-1].get("result")) if best else []
    return [mark for mark in marks if mark.get("type") not in ("choices", "relation")]


def _image(data: dict[str, Any]) -> str:
    """The name of a task's image, out of the address under which Label Studio shows it."""
    for value in _texts(data):
        parts = _split(value)
        if parts is None:
            continue
        name = parts.path
        if name.endswith("/data/local-files/"):
            name = next(iter(parse_qs(parts.query).get("d", [])), "")
            return name.lstrip("/")
        if PurePosixPath(name).suffix.lower() in SUFFIXES:
            name = unquote(name).lstrip("/")
            # An uploaded file has eight digits before its own name.
            return re.sub(r"^[0-9a-f]{8}-", "", PurePosixPath(name).name) if "data/upload/" in name else name
    return ""


def _texts(data: dict[str, Any]) -> Iterator[str]:
    """The values that may name an image, the most likely first."""
    keys = sorted(data, key=lambda key: key not in ("image", "img", "photo"))
    yield from (data[key] for key in keys if isinstance(data[key], str))


def _split(address: str) -> Any:
    try:
        return urlsplit(address)
    except ValueError:
        return None


def text(scheme: Scheme, proposals: Sequence[Proposal]) -> str:
    """Tasks with their predictions. The images are files below the folder that Label Studio serves (local storage).

    What lies outside of its image is moved to the edge, since Label Studio knows nothing beyond it.
    """
    tasks = []
    for number, proposal in enumerate(proposals, start=1):
        share = ((proposal.points + HALF) / proposal.size).clip(0, 1) * 100
        result = [
            {
                "id": f"{number}-{k}",
                "type": "keypointlabels",
                "from_name": _NAME,
                "to_name": _TO,
                "original_width": proposal.size[0],
                "original_height": proposal.size[1],
                "image_rotation": 0,
                "value": {"x": round(x, 6), "y": round(y, 6), "width": 0.5, "keypointlabels": [name]},
            }
            for k, (name, (x, y)) in enumerate(zip(scheme.names, share.tolist(), strict=True))
        ]
        prediction = {"model_version": "brule", "score": round(proposal.score, 4), "result": result}
        tasks.append({"data": {_TO: LOCAL + quote(proposal.image)}, "predictions": [prediction]})
    return json.dumps(tasks, ensure_ascii=False, allow_nan=False) + "\n"


def interface(scheme: Scheme) -> str:
    """The labelling interface that a project needs for `text`: the XML of its settings."""
    view = ET.Element("View")
    ET.SubElement(view, "Image", name=_TO, value=f"${_TO}", zoom="true")
    names = ET.SubElement(view, "KeyPointLabels", name=_NAME, toName=_TO, strokeWidth="2")
    for index, name in enumerate(scheme.names):
        # The index is the keypoint's place, which Label Studio's own export to COCO asks for.
        ET.SubElement(names, "Label", value=printable(name), model_index=str(index))
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"
