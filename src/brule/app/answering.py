"""What the page is told: of the model, of a photo, of the styles of a face. Plain values, as JSON has them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from brule.app import uploads
from brule.app.painting import Painter, Units
from brule.app.samples import Sample
from brule.data.crop import around, cut, to_units
from brule.detector import text as answers
from brule.detector.model import Detector
from brule.detector.prediction import Box, Prediction
from brule.errors import BruleError
from brule.figures.theme import colours
from brule.stages import wording


@dataclass(frozen=True)
class Guide:
    """Everything that answers the page. One question at a time: torch takes all cores for each."""

    detector: Detector
    painter: Painter | None
    samples: Sequence[Sample]
    _turn: Lock = field(default_factory=Lock)

    def model(self) -> dict[str, Any]:
        """What the landmarks are and how they are drawn, which samples there are, how large a photo may be."""
        scheme = self.detector.scheme
        return {
            "title": wording.title(scheme),
            "mode": wording.mode(self.detector),
            "image_size": self.detector.image_size,
            "names": [name.replace("_", " ") for name in scheme.names],
            "edges": [list(edge) for edge in scheme.edges],
            "colours": ["#" + bytes(round(255 * c) for c in rgb).hex() for rgb in colours(scheme).tolist()],
            "styles": self.painter is not None,
            "samples": [sample.name for sample in self.samples],
            "largest": uploads.LARGEST,
        }

    def landmarks(self, data: bytes, name: str, box: Box | None, refine: bool) -> dict[str, Any]:
        """The landmarks of a photo in its own pixels, the photo as it was seen, and the files to take home."""
        image = uploads.read(data, name)
        with self._turn:
            start = time.perf_counter()
            found = self.detector.predict(image, box, refine)
            seconds = time.perf_counter() - start
            face = self._face(image, found)
        named = {Path(name): found}
        return {
            "name": name,
            "width": image.width,
            "height": image.height,
            "picture": uploads.data_url(image),
            "points": found.points.round(3).tolist(),
            "confidence": found.confidence.astype(float).round(4).tolist(),
            "seconds": round(seconds, 4),
            "face": face,
            "files": {
                "csv": answers.csv_text(named),
                "json": answers.json_text(named),
                "pts": answers.pts_text(found),
            },
        }

    def styles(self, shape: Units, turn: int) -> dict[str, Any]:
        """A shape (K, 2), crop units, drawn in other styles. Raises BruleError where it is none, or without a GAN."""
        if self.painter is None:
            raise BruleError("there is no GAN beside the detector; start `brule demo` with --gan FILE")
        if shape.shape != self.detector.barycenter.shape or not np.isfinite(shape).all():
            raise BruleError(f"points of shape {shape.shape} are no landmarks of this model; show it a photo first")
        with self._turn:
            images = self.painter.others(shape, turn)
        return {"images": [uploads.data_url(Image.fromarray(image)) for image in images]}

    def _face(self, image: Image.Image, found: Prediction) -> dict[str, Any] | None:
        """For the GAN: the shape in crop units, the crop, and the crop restored; None where no crop can be cut."""
        if self.painter is None:
            return None
        try:
            square = around(found.points, *self.detector.framing)
            crop = cut(image, square, self.detector.image_size)
        except BruleError:
            return None
        shape = to_units(found.points, square)
        pictures = {"crop": crop, "restored": self.painter.restored(self.detector, crop, shape)}
        urls = {kind: uploads.data_url(Image.fromarray(pixels)) for kind, pixels in pictures.items()}
        return {"shape": shape.round(5).tolist(), **urls}
