"""The shipped model: one safetensors file in, landmarks of photos or of prepared crops out. No GAN, no tracker.

A detector from where it is kept: a file, or MLflow's registry of models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from brule.data.crop import DVE, Framing
from brule.data.photos import Photo
from brule.data.schemes import Scheme
from brule.detector import prediction, weights
from brule.detector.prediction import Box, Prediction
from brule.errors import BruleError
from brule.maths import heatmaps
from brule.maths.images import to_tensor
from brule.networks.hourglass import LandmarkEncoder

KIND = weights.Kind("detector", "brule", 1, "models/detector.safetensors")
_LARGEST = {"landmarks": 10_000, "image_size": 4096, "map_size": 4096, "stacks": 16, "width": 4096, "depth": 12}


@dataclass(frozen=True)
class Detector:
    """An encoder and what its K channels mean."""

    encoder: nn.Module
    barycenter: npt.NDArray[np.float32]
    """X_b (K, 2), crop units: the answer of somebody who sees nothing."""
    scheme: Scheme
    image_size: int
    map_size: int
    training: Mapping[str, Any] = field(default_factory=dict)
    """What the training wrote about itself."""
    architecture: Mapping[str, int] = field(default_factory=dict)
    """The encoder's stacks, width and depth."""
    framing: Framing = DVE
    """How its training crops were cut around landmarks."""

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> Self:
        """Read a detector. Raises BruleError naming the file where it is missing, foreign, damaged or too new."""
        header, tensors = weights.load(path, KIND)
        scheme, sizes = _header(header, path)
        with torch.device("meta"):
            encoder = LandmarkEncoder(**sizes)
        encoder = weights.fill(encoder, tensors, "encoder", path, KIND).to(device)
        barycenter = tensors.get("barycenter", torch.empty(0)).float()
        if not torch.isfinite(barycenter).all() or tuple(barycenter.shape) != (sizes["landmarks"], 2):
            raise BruleError(f"{path}: its weights are damaged; {KIND.mend}")
        training = header.get("training")
        return cls(
            encoder,
            barycenter.numpy(),
            scheme,
            sizes["image_size"],
            sizes["map_size"],
            training if isinstance(training, dict) else {},
            {name: sizes[name] for name in ("stacks", "width", "depth")},
            _framing(header, path),
        )

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def tensor(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """Prepared crops (B, S, S, 3) uint8 → what the encoder sees, (B, 3, S, S) float32 in [-1, 1]."""
        size = self.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise BruleError(
                f"images of shape {images.shape} and type {images.dtype}: this detector takes uint8 crops of "
                f"(N, {size}, {size}, 3); prepare the images at prepare.image_size {size}"
            )
        return to_tensor(images, self.device)

    @torch.inference_mode()
    def log_maps(self, batch: Tensor) -> Tensor:
        """log L of one batch, (B, 3, S, S) in [-1, 1] → (B, K, D, D) float32 log-probabilities."""
        return heatmaps.log_probabilities(self.encoder(batch)[-1])

    @torch.inference_mode()
    def points(self, images: npt.NDArray[np.uint8], batch_size: int = 64) -> npt.NDArray[np.float32]:
        """Landmarks of prepared crops: (N, S, S, 3) uint8 → (N, K, 2) float32 in crop units, order (x, y)."""
        found = [np.empty((0, len(self.scheme.names), 2), np.float32)]
        for start in range(0, len(images), batch_size):
            log_L = self.log_maps(self.tensor(images[start : start + batch_size]))
            found.append(heatmaps.coordinates(log_L.exp()).cpu().numpy())
        return np.concatenate(found)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is also a sequence of them
        self, images: Photo, boxes: Box | None = None, refine: bool = False, batch_size: int = 64
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: Iterable[Photo],
        boxes: Iterable[Box | None] | None = None,
        refine: bool = False,
        batch_size: int = 64,
    ) -> list[Prediction]: ...

    def predict(
        self,
        images: Photo | Iterable[Photo],
        boxes: Box | Iterable[Box | None] | None = None,
        refine: bool = False,
        batch_size: int = 64,
    ) -> Prediction | list[Prediction]:
        """Landmarks of photos of any size, in the pixels of each photo as it is displayed (its EXIF turn applied).

        images: a path, an array (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16, an image of PIL, which give one
        Prediction; or several of these, which give a list. boxes: where the landmarks are, as far as that is known:
        (x, y, width, height) of their box in the photo's pixels for one image, a list of them (or None) for several.
        Without a box the largest square in the middle is looked at. refine: look again, up to three times, at the
        square around the points that were found before, until it is at rest. Raises BruleError naming the image that is
        none, or the box that is none.
        """
        return prediction.predict(self, images, boxes, refine, batch_size)


def save(
    path: Path | str,
    encoder: nn.Module,
    *,
    barycenter: npt.ArrayLike,
    scheme: Scheme,
    image_size: int,
    map_size: int,
    architecture: Mapping[str, int],
    training: Mapping[str, Any] | None = None,
    framing: Framing = DVE,
) -> None:
    """Write what `Detector.load` reads, atomically. The same weights and words give the same bytes.

    encoder: the LandmarkEncoder that ships; barycenter (K, 2) crop units; architecture: its `stacks`, `width` and
    `depth`; training: anything that JSON holds; framing: how `prepare` cut the crops around landmarks.
    """
    tensors = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    tensors["barycenter"] = torch.tensor(np.asarray(barycenter))
    header = {
        "landmarks": len(scheme.names),
        "image_size": image_size,
        "map_size": map_size,
        "encoder": dict(architecture),
        "scheme": scheme.to_json(),
        "training": dict(training or {}),
        "framing": framing._asdict(),
    }
    weights.save(path, KIND, header, tensors)


def _header(header: Mapping[str, Any], path: Path | str) -> tuple[Scheme, dict[str, int]]:
    """Scheme and constructor arguments, each within bounds."""
    try:
        scheme = Scheme.from_json(header["scheme"])
        sizes = weights.sizes({**header, **header["encoder"]}, _LARGEST)
        if sizes["image_size"] % sizes["map_size"] or sizes["landmarks"] != len(scheme.names):
            raise ValueError
    except (BruleError, KeyError, TypeError, ValueError):
        raise BruleError(f"{path}: its header is damaged; {KIND.mend}") from None
    return scheme, sizes


def _framing(header: Mapping[str, Any], path: Path | str) -> Framing:
    """Files from before it was written down follow DVE's."""
    try:
        framing = Framing(**{name: float(value) for name, value in header.get("framing", DVE._asdict()).items()})
        if not (0 < framing.fill <= 1 and math.isfinite(framing.lift)):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise BruleError(f"{path}: its header is damaged; {KIND.mend}") from None
    return framing


REGISTRY = "models:/"
"""How the addresses of registered models begin."""


def load(source: Path | str, device: str = "cpu") -> Detector:
    """The detector in a file that training wrote, or the registered `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises BruleError naming the source where it is none. Of a registered model the weights alone are fetched and none
    of its code is run; MLflow is imported for these only.
    """
    if not str(source).startswith(REGISTRY):
        return Detector.load(source, device)
    from brule.tracking.registry import fetch

    with TemporaryDirectory(prefix="brule-") as folder:
        return Detector.load(fetch(str(source), Path(folder)), device)
