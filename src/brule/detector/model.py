"""The shipped model: one safetensors file, or one from MLflow's registry, in; landmarks of photos and crops out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
from brule.detector import plausibility, prediction, weights
from brule.detector.plausibility import Judge
from brule.detector.prediction import Box, Prediction, Sight
from brule.errors import BruleError
from brule.maths import heatmaps
from brule.maths.images import to_tensor
from brule.networks.hourglass import LandmarkEncoder

REGISTRY = "models:/"
"""The beginning of every address of a registered model."""
KIND = weights.Kind("detector", "brule", 1, "models/detector.safetensors")
_LARGEST = {"landmarks": 10_000, "image_size": 1024, "map_size": 1024, "stacks": 16, "width": 4096, "depth": 12}
_LEAST = 0.01  # share of a crop that landmarks take up; params.yaml allows no less than ten times this
_LONGEST_TRAINING = 10_000  # characters of what a file says of its training


@dataclass(frozen=True, repr=False)
class Detector:
    """An encoder, and what its K channels mean. `predict` answers photos, `points` prepared crops."""

    encoder: nn.Module
    barycenter: npt.NDArray[np.float32]
    """X_b (K, 2) in crop units: the best answer without looking."""
    scheme: Scheme
    image_size: int
    map_size: int
    training: Mapping[str, Any] = field(default_factory=dict)
    """What training wrote about itself: its mode, its data, its iterations."""
    architecture: Mapping[str, int] = field(default_factory=dict)
    """Stacks, width and depth of the encoder."""
    framing: Framing = DVE
    """How its training crops were cut around the landmarks."""
    judge: Judge | None = None
    """Says how plausible an answer is. None: the file is older and does not know."""

    def __repr__(self) -> str:
        mode = self.training.get("mode", "unknown training")
        return f"Detector({len(self.scheme.names)} landmarks, {self.image_size} px, maps {self.map_size} px, {mode})"

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> Self:
        """Read a detector. Raises BruleError naming the file if it is missing, foreign, damaged or too new."""
        header, tensors = weights.load(path, KIND)
        scheme, sizes, encoder = _header(header, path)
        encoder = weights.fill(encoder, tensors, "encoder", path, KIND).to(device)
        barycenter = tensors.get("barycenter", torch.empty(0))
        if tuple(barycenter.shape) != (sizes["landmarks"], 2):
            raise BruleError(f"{path}: its weights are damaged; {KIND.mend}")
        return cls(
            encoder,
            barycenter.numpy(),
            scheme,
            sizes["image_size"],
            sizes["map_size"],
            _training(header, path),
            {name: sizes[name] for name in ("stacks", "width", "depth")},
            _framing(header, path),
            _judge(header, tensors, scheme, path),
        )

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def tensor(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """Prepared crops (B, S, S, 3) uint8 → the encoder's input, (B, 3, S, S) float32 in [-1, 1]."""
        size = self.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise BruleError(
                f"images of shape {images.shape} and type {images.dtype}: this detector takes uint8 crops of shape "
                f"(N, {size}, {size}, 3); set prepare.image_size to {size} and prepare the images again"
            )
        return to_tensor(images, self.device)

    @torch.inference_mode()
    def log_maps(self, batch: Tensor) -> Tensor:
        """log L of one batch, (B, 3, S, S) in [-1, 1] → (B, K, D, D) float32 log-probabilities."""
        return heatmaps.log_probabilities(self.encoder(batch)[-1])

    @torch.inference_mode()
    def points(self, images: npt.NDArray[np.uint8], batch_size: int = 64) -> npt.NDArray[np.float32]:
        """Landmarks of prepared crops: (N, S, S, 3) uint8 → (N, K, 2) float32, (x, y) in crop units."""
        found = [np.empty((0, len(self.scheme.names), 2), np.float32)]
        for start in range(0, len(images), batch_size):
            log_L = self.log_maps(self.tensor(images[start : start + batch_size]))
            found.append(heatmaps.coordinates(log_L.exp()).cpu().numpy())
        return np.concatenate(found)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is also a sequence of them
        self, images: Photo, boxes: Box | None = None, refine: bool | None = None, batch_size: int = 64
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: Iterable[Photo],
        boxes: Iterable[Box | None] | None = None,
        refine: bool | None = None,
        batch_size: int = 64,
    ) -> list[Prediction]: ...

    def predict(
        self,
        images: Photo | Iterable[Photo],
        boxes: Box | Iterable[Box | None] | None = None,
        refine: bool | None = None,
        batch_size: int = 64,
    ) -> Prediction | list[Prediction]:
        """Landmarks of photos of any size, in the pixels of each photo as it is displayed (its EXIF turn applied).

        images: one photo gives one Prediction, several give a list. A photo is a path, an array (H, W), (H, W, 3) or
        (H, W, 4) of uint8 or uint16, or a PIL image. boxes: the box around the landmarks, if you know it, as (x, y,
        width, height) in the photo's pixels; for several photos a list of boxes, or None for unknown ones.

        By default the object is searched for in the whole photo where there is no box, and then the detector looks
        again, up to three times, at the square around the points just found, until it stops moving; the points are the
        mean over that crop and a few views of it, such as its mirror image. refine: True does without these views,
        searches nothing, and begins with the largest square in the middle; False looks once, there or at the box. A
        detector of an older file, which has no plausibility, cannot search and does as with True. Raises BruleError
        naming the photo that cannot be read or has no valid box.
        """
        return prediction.predict(self._sight(), images, boxes, refine, batch_size)

    def predictions(
        self, images: Iterable[Photo], boxes: Iterable[Box | None], refine: bool | None = None, batch_size: int = 64
    ) -> Iterator[Prediction | BruleError]:
        """Like `predict` for any number of photos, one answer at a time. A photo without landmarks gives its error."""
        return prediction.predictions(self._sight(), images, boxes, refine, batch_size)

    def _sight(self) -> Sight:
        return Sight(self.look, self.image_size, self.framing, self.scheme.names, self.judge)

    def judged(self, crops: npt.NDArray[np.uint8], shapes: npt.ArrayLike) -> Self:
        """This detector with a judge, measured on validation crops (N, S, S, 3) and the unpaired shapes (M, K, 2)."""
        prior = plausibility.Prior.of(shapes, self.barycenter, self.scheme.flip)
        return replace(self, judge=Judge.measured(self.look, crops, prior, self.scheme.flip))

    def save(self, path: Path | str) -> None:
        """Write this detector to a file, as training does."""
        save(
            path,
            self.encoder,
            barycenter=self.barycenter,
            scheme=self.scheme,
            image_size=self.image_size,
            map_size=self.map_size,
            architecture=self.architecture,
            training=self.training,
            framing=self.framing,
            judge=self.judge,
        )

    def plausibility(self, crops: npt.NDArray[np.uint8], batch_size: int = 64) -> npt.NDArray[np.float64]:
        """The plausibility of the answers on prepared crops: (N, S, S, 3) uint8 → (N,) in [0, 1].

        Raises BruleError if this detector knows none.
        """
        if self.judge is None:
            raise BruleError("the detector has no plausibility: an older brule trained it; train it again")
        found = [np.empty(0)]
        for start in range(0, len(crops), batch_size):
            batch = np.ascontiguousarray(crops[start : start + batch_size])
            seen = plausibility.views(self.look, batch, self.judge.flip)
            found.append(self.judge.plausibility(*self.look(batch), seen))
        return np.concatenate(found)

    def look(self, crops: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Points (B, K, 2) and confidences (B, K) of one batch of crops (B, S, S, 3)."""
        L = self.log_maps(self.tensor(crops)).exp()
        return heatmaps.coordinates(L).cpu().numpy(), prediction.confidence(L).cpu().numpy()


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
    judge: Judge | None = None,
) -> None:
    """Write what `Detector.load` reads, atomically. The same arguments give the same bytes.

    encoder: the LandmarkEncoder to ship, and architecture its `stacks`, `width` and `depth`; barycenter: (K, 2) in crop
    units; training: anything that fits into JSON; framing: how `prepare` cut the crops around the landmarks; judge:
    what `Detector.judged` measured.
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
    if judge is not None:
        tensors |= {f"plausibility.{name}": tensor for name, tensor in judge.tensors().items()}
        header["plausibility"] = judge.facts()
    weights.save(path, KIND, header, tensors)


def _header(header: Mapping[str, Any], path: Path | str) -> tuple[Scheme, dict[str, int], LandmarkEncoder]:
    """The scheme, the arguments of the encoder, each within its bounds, and the encoder, which has no memory yet."""
    try:
        scheme = Scheme.from_json(header["scheme"])
        sizes = weights.sizes({**header, **header["encoder"]}, _LARGEST)
        if sizes["landmarks"] != len(scheme.names):
            raise ValueError
        for channels in ("landmarks", "width"):
            weights.demand_room(sizes[channels], sizes["map_size"])
        with torch.device("meta"):
            return scheme, sizes, LandmarkEncoder(**sizes)
    except (BruleError, KeyError, TypeError, ValueError, OverflowError):
        raise _damaged(path) from None


def _framing(header: Mapping[str, Any], path: Path | str) -> Framing:
    """The framing in the header. Older files have none, and follow DVE's."""
    try:
        framing = Framing(**{name: float(value) for name, value in header.get("framing", DVE._asdict()).items()})
        if not (_LEAST <= framing.fill <= 1 and abs(framing.lift) <= 1 / _LEAST and _LEAST <= framing.height <= 1):
            raise ValueError
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise _damaged(path) from None
    return framing


def _training(header: Mapping[str, Any], path: Path | str) -> dict[str, Any]:
    """What the file says of its training. It is shown in terminals, so it must be short and plain."""
    training = header.get("training", {})
    words = json.dumps(training, ensure_ascii=False)
    if not isinstance(training, dict) or len(words) > _LONGEST_TRAINING or not _plain(training):
        raise _damaged(path)
    return training


def _plain(value: Any) -> bool:
    """Whether every word in it can be printed."""
    if isinstance(value, dict):
        return all(_plain(each) for item in value.items() for each in item)
    return all(map(_plain, value)) if isinstance(value, list) else not isinstance(value, str) or value.isprintable()


def _damaged(path: Path | str) -> BruleError:
    return BruleError(f"{path}: its header is damaged; {KIND.mend}")


def _judge(header: Mapping[str, Any], tensors: Mapping[str, Tensor], scheme: Scheme, path: Path | str) -> Judge | None:
    """The judge in the file. Older files have none."""
    if "plausibility" not in header:
        return None
    own = {name.removeprefix("plausibility."): t for name, t in tensors.items() if name.startswith("plausibility.")}
    try:
        return Judge.restored(header["plausibility"], own, tensors["barycenter"].double().numpy(), scheme.flip)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BruleError(f"{path}: what it says of plausibility is damaged; {KIND.mend}") from None


def load(source: Path | str, device: str = "cpu") -> Detector:
    """The detector in a file that training wrote, or a registered one: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises BruleError naming the source if it holds no detector. Only the weights of a registered model are fetched, and
    none of its code runs. MLflow is imported for these models only.
    """
    if not str(source).startswith(REGISTRY):
        return Detector.load(source, device)
    from brule.tracking.registry import fetch

    with TemporaryDirectory(prefix="brule-") as folder:
        return Detector.load(fetch(str(source), Path(folder)), device)
