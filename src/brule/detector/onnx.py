"""A trained detector as one ONNX file, which runs without torch and without brule."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from brule import files
from brule.detector.model import Detector
from brule.detector.prediction import confidence
from brule.errors import BruleError
from brule.maths import heatmaps

if TYPE_CHECKING:
    import onnx


TOLERANCE = 0.05
"""Pixels of the crop by which a file may differ from torch. A correct one differs by a thousandth of this."""
INSTALL = "pip install -e '.[onnx]' -c constraints.txt"
ABOUT = """\
A detector of {landmarks} landmarks, trained by brule. images: square RGB crops, bytes, (N, {size}, {size}, 3). \
points: (N, {landmarks}, 2), x and y of each landmark in crop units, from 0 at the left and upper edge of the crop to \
1 at the right and lower one, in the order of `names`. confidence: (N, {landmarks}), from 0 to 1, how sharply each is \
seen, which is not the probability that it is right. The metadata are JSON. framing: the width of the landmarks' box \
is `fill` of the crop's side, and the crop's centre lies `lift` box widths above the box's. barycenter: the mean \
shape, in crop units. flip: the landmark that each becomes in a mirror. normaliser: the pair whose distance divides \
errors. edges: the pairs that are joined by lines in pictures."""
"""The doc string of the file."""


def to_onnx(detector: Detector, path: Path | str) -> float:
    """Write the detector to `path` as ONNX, atomically. Returns how far it is from torch, in pixels of the crop.

    Everything is inside the graph: `images` uint8 (N, S, S, 3) for any N ≥ 1 → `points` float32 (N, K, 2) in crop units
    and `confidence` float32 (N, K), as `prediction.confidence` defines it. The file's doc string and metadata say what
    the numbers mean. The difference is the largest distance of a point from torch's, over a few images. Raises
    BruleError if the libraries of the extra `onnx` are missing, if the difference is above TOLERANCE, or if `path`
    cannot be written.
    """
    _needed()
    detector = replace(detector, encoder=copy.deepcopy(detector.encoder).cpu().eval())
    model = _model(detector)
    _describe(model, detector)
    data = model.SerializeToString(deterministic=True)
    difference = _difference(data, detector)
    if not difference <= TOLERANCE:  # NaN fails too
        raise BruleError(
            f"{path}: not written, since ONNX Runtime's points differ from torch's by {difference:.2g} px of the crop; "
            f"install the versions that were tested together: {INSTALL}"
        )
    files.write_bytes(path, data)
    return difference


class _Graph(nn.Module):
    """From bytes to landmarks: what `images.to_tensor`, the encoder, `heatmaps` and `confidence` do in turn."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        batch = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        L = heatmaps.log_probabilities(self.encoder(batch)[-1]).exp()
        return heatmaps.coordinates(L), confidence(L)


def _needed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BruleError(f"the library {error.name} is missing, which ONNX needs; run {INSTALL}") from None


def _model(detector: Detector) -> onnx.ModelProto:
    images = np.zeros(
        (2, detector.image_size, detector.image_size, 3), np.uint8
    )  # with one image, the exporter would take N for fixed
    with _quiet():
        program = torch.onnx.export(
            _Graph(detector.encoder),
            (torch.from_numpy(images),),
            input_names=["images"],
            output_names=["points", "confidence"],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            verbose=False,
        )
    assert program is not None  # only the old exporter returns nothing
    model: onnx.ModelProto = program.model_proto
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")  # the exporter's stack traces, with paths of the user's disk
    return model


def _describe(model: onnx.ModelProto, detector: Detector) -> None:
    from onnx.helper import set_model_props

    facts: dict[str, Any] = {
        **detector.scheme.to_json(),
        "image_size": detector.image_size,
        "framing": detector.framing._asdict(),
        "barycenter": detector.barycenter.tolist(),
        "training": dict(detector.training),
    }
    model.doc_string = ABOUT.format(landmarks=len(detector.scheme.names), size=detector.image_size)
    set_model_props(model, {name: json.dumps(fact, ensure_ascii=False) for name, fact in facts.items()})


def _difference(data: bytes, detector: Detector) -> float:
    """The largest distance between ONNX Runtime's points and torch's, in pixels of the crop."""
    import onnxruntime

    session, images = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]), _images(detector)
    points, _ = session.run(None, {"images": images})
    return float(np.linalg.norm(points - detector.points(images), axis=-1).max() * detector.image_size)


def _images(detector: Detector) -> npt.NDArray[np.uint8]:
    """From noise to four blocks of colour, (5, S, S, 3). The graph was traced with another N."""
    size, random = detector.image_size, np.random.default_rng(0)
    images = np.empty((5, size, size, 3), np.uint8)
    for image, cells in zip(images, (size, size // 2, 8, 4, 2), strict=True):
        colours = random.integers(0, 256, (cells, cells, 3), np.uint8)
        image[:] = colours.repeat(size // cells, 0).repeat(size // cells, 1)
    return images


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which reports its own deprecations and packages that nothing here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
