"""COCO keypoints: one JSON with images, categories (names and skeleton of the keypoints) and annotations.

Coordinates are pixels, 0 at the centre of the first, as here. A keypoint is x, y and v: 0 not labelled, 1 hidden,
2 visible.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from brule.data.forms.labelstudio import LOCAL
from brule.data.forms.objects import File, Marked, Proposal, as_size, mappings
from brule.data.labels import as_names, as_point
from brule.data.schemes import Scheme
from brule.errors import BruleError, quoted


def recognised(raw: Any) -> bool:
    """Whether a JSON has this form."""
    return isinstance(raw, dict) and isinstance(raw.get("annotations"), list) and "images" in raw


def read(path: Path, raw: dict[str, Any]) -> File:
    """The annotated objects. Those without a labelled keypoint, such as mere boxes, are none."""
    images = {_id(image): image for image in mappings(raw["images"])}
    categories = {_id(category): category for category in mappings(raw.get("categories"))}
    objects, used, others = [], dict[int | str, tuple[str, ...]](), 0
    for index, annotation in enumerate(mappings(raw["annotations"])):
        where = f"{path}: annotation {quoted(annotation.get('id', index))}"
        values = annotation.get("keypoints")
        if not isinstance(values, list) or not any(values[2::3]):
            others += 1
            continue
        category, image = _id(annotation, "category_id"), images.get(_id(annotation, "image_id"))
        if category not in categories:
            raise BruleError(f"{where}: its category_id is none of the file's categories; correct the file")
        if image is None or not isinstance(image.get("file_name"), str):
            raise BruleError(f"{where}: its image_id is none of the file's images; correct the file")
        names = used.setdefault(category, _names(path, categories[category], len(values) // 3))
        if len(values) != 3 * len(names):
            raise BruleError(
                f"{where}: has {len(values)} numbers, but x, y and v of {len(names)} keypoints are {3 * len(names)}; "
                "correct the file"
            )
        points = {}
        for k, name in enumerate(names):
            x, y, visible = values[3 * k : 3 * k + 3]
            if visible not in (0, 1, 2):
                raise BruleError(f"{where}: the visibility of {quoted(name)} is not 0, 1 or 2; correct the file")
            if visible:
                points[name] = as_point([x, y], f"{where}, {quoted(name)}")
        objects.append(
            Marked(where, _name(image["file_name"]), as_size(image.get("width"), image.get("height")), points)
        )
    if len({frozenset(names) for names in used.values()}) > 1:
        called = ", ".join(quoted(categories[key].get("name")) for key in list(used)[:5])
        raise BruleError(
            f"{path}: has objects of the categories {called}, whose keypoints differ; give a file for each category"
        )
    if not used:
        return File([], others=others)
    category, names = next(iter(used.items()))
    return File(objects, names, _edges(path, categories[category], names), others)


def _name(file: str) -> str:
    """An image's name, out of the address that Label Studio leaves there in its export to COCO."""
    _, address, name = file.rpartition(LOCAL)
    return unquote(name) if address else name


def _id(record: dict[str, Any], key: str = "id") -> int | str:
    """An identifier, which some tools write as a text."""
    value = record.get(key)
    return value if isinstance(value, int | str) else ""


def _names(path: Path, category: dict[str, Any], count: int) -> tuple[str, ...]:
    """The names that the category gives its keypoints, or else their numbers."""
    names = category.get("keypoints")
    if not isinstance(names, list) or not names:
        return tuple(map(str, range(count)))
    return tuple(as_names(names, len(names), path))


def _edges(path: Path, category: dict[str, Any], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The skeleton: pairs of keypoints, which count from 1."""
    skeleton = category.get("skeleton") or []
    if not isinstance(skeleton, list):
        raise BruleError(f"{path}: skeleton: {quoted(skeleton)} is not a list of pairs; correct the file")
    edges = []
    for edge in skeleton:
        ends = edge if isinstance(edge, list) and all(isinstance(end, int) for end in edge) else []
        if len(ends) != 2 or ends[0] == ends[1] or not all(0 < end <= len(names) for end in ends):
            pair = f"{quoted(edge)} is not a pair of keypoints from 1 to {len(names)}"
            raise BruleError(f"{path}: skeleton: {pair}; correct it, or remove the skeleton")
        edges.append((names[ends[0] - 1], names[ends[1] - 1]))
    return tuple(edges)


def text(scheme: Scheme, proposals: Sequence[Proposal]) -> str:
    """The file of some proposals: all keypoints count as visible."""
    category = {
        "id": 1,
        "name": "object",
        "supercategory": "object",
        "keypoints": list(scheme.names),
        "skeleton": [[one + 1, other + 1] for one, other in scheme.edges],
    }
    images, annotations = [], []
    for number, proposal in enumerate(proposals, start=1):
        images.append(
            {"id": number, "file_name": proposal.image, "width": proposal.size[0], "height": proposal.size[1]}
        )
        low, high = proposal.points.min(0), proposal.points.max(0)
        box = [round(float(value), 3) for value in (*low, *(high - low))]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": [v for x, y in proposal.points.tolist() for v in (round(x, 3), round(y, 3), 2)],
                "num_keypoints": len(scheme.names),
                "bbox": box,
                "area": round(box[2] * box[3], 3),
                "iscrowd": 0,
                "score": round(proposal.score, 4),
            }
        )
    whole = {"images": images, "annotations": annotations, "categories": [category]}
    return json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n"
