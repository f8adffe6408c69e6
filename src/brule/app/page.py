"""What the page asks for and what it gets, as plain JSON values. Photos stay in memory; none is written to disk."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from brule.app.reduced import reduced
from brule.app.samples import Sample
from brule.data import photos
from brule.data.crop import around, cut, to_units
from brule.detector import text
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.detector.plausibility import THRESHOLD
from brule.detector.prediction import Box, Prediction
from brule.errors import BruleError
from brule.figures.theme import colours
from brule.stages import wording

LARGEST_PHOTO = 40 * 2**20
"""Bytes of a photo, at most."""
SHOWN = 1600
"""Pixels of the longer side of a picture that is sent back, at most."""
_SMALL = 256
"""Pixels of the longer side up to which a picture is sent back as an exact PNG."""
_UNNAMED = "photo"
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Page:
    """Answers what the page asks."""

    detector: Detector
    gan: Gan | None
    """A trained GAN of the detector's landmarks and image size. Without one the page shows no other styles."""
    samples: Sequence[Sample]

    def model(self) -> dict[str, Any]:
        """The landmarks and how to draw them, the names of the samples, and the largest photo allowed, in bytes."""
        scheme = self.detector.scheme
        return {
            "title": wording.title(scheme),
            "mode": wording.mode(self.detector),
            "image_size": self.detector.image_size,
            "names": [name.replace("_", " ") for name in scheme.names],
            "edges": [list(edge) for edge in scheme.edges],
            "colours": ["#" + bytes(round(255 * c) for c in rgb).hex() for rgb in colours(scheme).tolist()],
            "styles": self.gan is not None,
            "samples": [sample.name for sample in self.samples],
            "largest": LARGEST_PHOTO,
        }

    def landmarks(self, data: bytes, name: str, box: Box | None, refine: bool | None) -> dict[str, Any]:
        """The landmarks of a photo, in its own pixels, with the photo as the detector saw it and the files to save.

        data: an image file; name: what to call it. `crop` has what the GAN needs: it is None without a GAN. Raises
        BruleError if the photo cannot be read or the box is not valid.
        """
        image = read(data, name)
        start = time.perf_counter()
        try:
            found = self.detector.predict(image, box, refine)
        except BruleError as error:  # which calls it image 0
            raise BruleError(str(error).replace("image 0", name, 1)) from None
        seconds = time.perf_counter() - start
        named = {Path(name): found}
        return {
            "name": name,
            "width": image.width,
            "height": image.height,
            "picture": data_url(image),
            "points": found.points.round(3).tolist(),
            "confidence": found.confidence.astype(float).round(4).tolist(),
            "plausible": found.plausibility is None or found.plausibility >= THRESHOLD,
            "seconds": round(seconds, 4),
            "crop": self._crop(image, found),
            "files": {"csv": text.csv_text(named), "json": text.json_text(named), "pts": text.pts_text(found)},
        }

    def styles(self, shape: npt.NDArray[np.float64], turn: int) -> dict[str, Any]:
        """Landmarks (K, 2), in crop units, drawn in other styles; each turn brings new ones.

        Raises BruleError if there is no GAN, or if these are not landmarks of the model.
        """
        if self.gan is None:
            raise BruleError("there is no GAN beside the detector; start `brule serve` with --gan FILE")
        if shape.shape != self.detector.barycenter.shape or not np.isfinite(shape).all():
            raise BruleError(f"points of shape {shape.shape} are not landmarks of this model; show it a photo first")
        return {"images": [data_url(Image.fromarray(image)) for image in self.gan.restyled(shape, turn)]}

    def _crop(self, image: Image.Image, found: Prediction) -> dict[str, Any] | None:
        """The crop around the landmarks, their shape in crop units, and the crop as the GAN restores it.

        None without a GAN, and if no crop can be cut there.
        """
        if self.gan is None:
            return None
        try:
            square = around(found.points, *self.detector.framing)
            pixels = cut(image, square, self.detector.image_size)
        except BruleError:
            return None
        shape = to_units(found.points, square)
        pictures = {"image": pixels, "restored": self.gan.restored(pixels, shape)}
        urls = {kind: data_url(Image.fromarray(picture)) for kind, picture in pictures.items()}
        return {"shape": shape.round(5).tolist(), **urls}


def file_name(text: str) -> str:
    """The name of an uploaded file as sentences and tables show it: without folders, on one line, not too long."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in PurePath(text).name).split())
    return plain[-_LONGEST_NAME:] or _UNNAMED


def read(data: bytes, name: str) -> Image.Image:
    """The photo in an uploaded file, RGB and upright. Raises BruleError, beginning with `name`, if it is none."""
    if not data:
        raise BruleError(f"{name}: the file is empty; choose a photo")
    with photos.read(io.BytesIO(data), None, None, name, "choose a JPEG, PNG, WebP or TIFF file") as picture:
        return picture.image


def data_url(image: Image.Image, longest: int = SHOWN) -> str:
    """A picture as a data: URL, reduced to `longest` pixels if it is larger. Small ones are exact, as PNG."""
    shown = reduced(image, longest)
    stream, small = io.BytesIO(), max(shown.size) <= _SMALL
    shown.save(stream, "PNG") if small else shown.save(stream, "JPEG", quality=92, subsampling=0)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
