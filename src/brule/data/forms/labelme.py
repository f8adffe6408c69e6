"""labelme: a JSON for each image, whose shapes of the type `point` are landmarks. Coordinates count from the edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brule.data.forms.objects import HALF, File, Marked, add, as_size, mappings
from brule.data.labels import as_point
from brule.errors import BruleError, quoted


def recognised(raw: Any) -> bool:
    """Whether a JSON has this form."""
    return isinstance(raw, dict) and isinstance(raw.get("shapes"), list) and ("imagePath" in raw or "imageData" in raw)


def read(path: Path, raw: dict[str, Any]) -> File:
    """The points of the image, an object for each `group_id`."""
    image = raw.get("imagePath")
    image = image.replace("\\", "/") if isinstance(image, str) else ""
    groups: dict[str, dict[str, Sequence[float]]] = {}
    others = 0
    for shape in mappings(raw["shapes"]):
        label, points = shape.get("label"), shape.get("points")
        if shape.get("shape_type") != "point":
            others += 1
            continue
        if not isinstance(label, str) or not isinstance(points, list) or len(points) != 1:
            raise BruleError(f"{path}: a shape of the type point is not one labelled point; correct the file")
        x, y = as_point(points[0] if isinstance(points[0], list) else [], f"{path}: {quoted(label)}")
        add(groups.setdefault(str(shape.get("group_id")), {}), label, [x - HALF, y - HALF], str(path))
    size = as_size(raw.get("imageWidth"), raw.get("imageHeight"))
    return File([Marked(str(path), image, size, points) for points in groups.values()], others=others)
