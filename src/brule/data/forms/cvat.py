"""CVAT for images 1.1: one XML in which skeletons, or plain points, stand below their image.

Coordinates are those of a canvas: 0 is the edge of the first pixel. Documented at
https://docs.cvat.ai/docs/other/xml_format.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from brule.data.forms.objects import HALF, File, Marked, Proposal, add, as_size, numbered, printable
from brule.data.labels import Points, as_point
from brule.data.schemes import Scheme
from brule.errors import BruleError, quoted

VERSION = "1.1"
LABEL = "object"
"""What a proposal's skeleton is called."""


class _DoctypeError(Exception):
    """The XML declares a document type, with which a small file can grow without end."""


class _Tree(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise _DoctypeError


def read(path: Path, content: str) -> File:
    """The skeletons. If there is none, the points: those of an image whose labels are the landmarks' names, or a mark
    of several points for each object, whose landmarks then have only numbers.
    """
    root = _root(path, content)
    images = root.findall("image")
    names, edges = _declared(root)
    skeletons, others = list[Marked](), 0
    for image in images:
        for skeleton in image.findall("skeleton"):
            skeletons.append(_skeleton(path, image, skeleton, names))
        others += sum(mark.tag not in ("skeleton", "points", "tag") for mark in image)
    if not skeletons:
        return _plain(path, images, others)
    used = {skeleton.get("label", ""): None for image in images for skeleton in image.findall("skeleton")}
    declared = [names[label] for label in used if label in names]
    if len({frozenset(each) for each in declared}) > 1:
        raise BruleError(
            f"{path}: has skeletons of the labels {', '.join(map(repr, used))}, whose points differ; "
            "export each label alone"
        )
    label = next((label for label in used if label in names), "")
    return File(skeletons, names.get(label), edges.get(label, ()), others)


def _root(path: Path, content: str) -> ET.Element:
    try:
        root = ET.fromstring(content, ET.XMLParser(target=_Tree()))
    except _DoctypeError:
        raise BruleError(f"{path}: declares a document type, which no labelling tool does; remove it") from None
    except ET.ParseError as error:
        raise BruleError(f"{path}, line {error.position[0]}: not valid XML; export the file again") from None
    if root.tag != "annotations":
        raise BruleError(f"{path}: is XML, but not CVAT's; export as CVAT for images {VERSION}")
    version = (root.findtext("version") or VERSION).strip()
    if version != VERSION:
        raise BruleError(f"{path}: has version {quoted(version)} of CVAT's form; export as CVAT for images {VERSION}")
    if root.find("track") is not None:
        raise BruleError(f"{path}: is CVAT for video; export as CVAT for images {VERSION}")
    return root


def _declared(root: ET.Element) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[tuple[str, str], ...]]]:
    """The names and the edges of each skeleton among the labels that the file describes."""
    names: dict[str, list[str]] = {}
    edges: dict[str, tuple[tuple[str, str], ...]] = {}
    for label in root.iterfind("meta//label"):
        name, parent = (label.findtext(tag) or "" for tag in ("name", "parent"))
        if parent:
            names.setdefault(parent, []).append(name)
        elif svg := label.findtext("svg"):
            edges[name] = _drawn(svg)
    known = {parent: tuple(own) for parent, own in names.items() if len(set(own)) == len(own)}
    joined = {
        parent: tuple(dict.fromkeys(edge for edge in edges.get(parent, ()) if set(edge) <= set(own)))
        for parent, own in known.items()
    }
    return known, joined


def _drawn(svg: str) -> tuple[tuple[str, str], ...]:
    """The edges of the drawing that CVAT keeps of a skeleton: lines between numbered nodes, which bear the names."""
    try:
        drawing = ET.fromstring(f"<svg>{svg}</svg>", ET.XMLParser(target=_Tree()))
    except (_DoctypeError, ET.ParseError):
        return ()
    called = {node.get("data-node-id"): node.get("data-label-name") for node in drawing.iter("circle")}
    ends = [(called.get(e.get("data-node-from")), called.get(e.get("data-node-to"))) for e in drawing.iter("line")]
    return tuple((one, other) for one, other in ends if one and other and one != other)


def _skeleton(path: Path, image: ET.Element, skeleton: ET.Element, names: dict[str, tuple[str, ...]]) -> Marked:
    label, name = skeleton.get("label", ""), image.get("name", "")
    where = f"{path}: {quoted(label)} in {quoted(name)}"
    points: dict[str, Sequence[float]] = {}
    for element in skeleton.findall("points"):
        if element.get("outside") == "1":
            continue
        own = element.get("label", "")
        if label in names and own not in names[label]:
            raise BruleError(f"{where}: {quoted(own)} is none of the skeleton's points; correct the file")
        add(points, own, _point(element.get("points", ""), where), where)
    return Marked(where, name, as_size(image.get("width"), image.get("height")), points)


def _plain(path: Path, images: Sequence[ET.Element], others: int) -> File:
    marks = [mark for image in images for mark in image.findall("points")]
    named = all(";" not in mark.get("points", "") for mark in marks)
    objects = []
    for image in images:
        name, size = image.get("name", ""), as_size(image.get("width"), image.get("height"))
        where = f"{path}: {quoted(name)}"
        groups: dict[str, dict[str, Sequence[float]]] = {}
        for index, mark in enumerate(image.findall("points")):
            own = groups.setdefault(mark.get("group_id", "") if named else str(index), {})
            for k, pair in enumerate(mark.get("points", "").split(";")):
                add(own, mark.get("label", "") if named else str(k), _point(pair, where), where)
        objects += [Marked(where, name, size, points) for points in groups.values()]
    names = None if named else numbered([(each.where, len(each.points)) for each in objects])
    return File(objects, names, others=others)


def _point(pair: str, where: str) -> list[float]:
    x, y = as_point(pair.split(","), where)
    return [x - HALF, y - HALF]


def text(scheme: Scheme, proposals: Sequence[Proposal]) -> str:
    """The file of some proposals, one skeleton an image. CVAT imports it into a task that has the label `object`."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = VERSION
    described = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for raw in labels(scheme, proposals):
        _describe(described, raw["name"], raw["type"], svg=raw["svg"])
        for own in raw["sublabels"]:
            _describe(described, own["name"], own["type"], parent=raw["name"])
    for number, proposal in enumerate(proposals):
        width, height = map(str, proposal.size)
        name = printable(proposal.image)
        image = ET.SubElement(root, "image", id=str(number), name=name, width=width, height=height)
        skeleton = ET.SubElement(image, "skeleton", label=LABEL, source="auto", occluded="0", z_order="0")
        for own, (x, y) in zip(scheme.names, (proposal.points + HALF).tolist(), strict=True):
            place = f"{x:.3f},{y:.3f}"
            ET.SubElement(
                skeleton, "points", label=printable(own), source="auto", outside="0", occluded="0", points=place
            )
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _describe(labels: ET.Element, name: str, kind: str, **more: str) -> None:
    label = ET.SubElement(labels, "label")
    for tag, value in {"name": name, "type": kind, "attributes": "", **more}.items():
        ET.SubElement(label, tag).text = value


def labels(scheme: Scheme, proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    """The label that a task needs for `text`: what CVAT's constructor of labels takes as “Raw”, in JSON."""
    shape = proposals[0].points if proposals else np.zeros((len(scheme.names), 2))
    own = [{"name": printable(name), "type": "points", "attributes": list[Any]()} for name in scheme.names]
    return [{"name": LABEL, "type": "skeleton", "attributes": [], "sublabels": own, "svg": _drawing(scheme, shape)}]


def labels_text(scheme: Scheme, proposals: Sequence[Proposal]) -> str:
    """`labels` as the text to paste."""
    return json.dumps(labels(scheme, proposals), indent=2, ensure_ascii=False) + "\n"


def _drawing(scheme: Scheme, shape: Points) -> str:
    """The skeleton in a square of 100, in which CVAT shows it."""
    low, high = shape.min(0), shape.max(0)
    places = 50 + (shape - (low + high) / 2) * (80 / max(float((high - low).max()), 1e-9))
    root = ET.Element("svg")
    for one, other in scheme.edges:
        (x1, y1), (x2, y2) = places[[one, other]].round(2).tolist()
        line = {"x1": str(x1), "y1": str(y1), "x2": str(x2), "y2": str(y2), "stroke": "black", "stroke-width": "0.5"}
        nodes = {"data-type": "edge", "data-node-from": str(one + 1), "data-node-to": str(other + 1)}
        ET.SubElement(root, "line", line | nodes)
    for k, (x, y) in enumerate(places.round(2).tolist(), start=1):
        circle = {"r": "1.5", "cx": str(x), "cy": str(y), "stroke": "black", "fill": "#b3b3b3", "stroke-width": "0.1"}
        node = {"data-type": "element node", "data-element-id": str(k), "data-node-id": str(k)}
        ET.SubElement(root, "circle", circle | node | {"data-label-name": printable(scheme.names[k - 1])})
    return "".join(ET.tostring(each, encoding="unicode", short_empty_elements=False) for each in root)
