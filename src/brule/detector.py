"""The shipped model: one safetensors file in, landmarks of prepared crops out. No GAN, no tracker, no pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from brule.data.schemes import Scheme
from brule.errors import BruleError
from brule.files import atomic
from brule.maths import heatmaps
from brule.networks.hourglass import LandmarkEncoder

FORMAT = 1
_MEND = "give the path of a detector that brule trained, models/detector.safetensors"
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

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> Self:
        """Read a detector. Raises BruleError naming the file where it is missing, foreign, damaged or too new."""
        header, tensors = _read(Path(path))
        scheme, sizes = _header(header, path)
        barycenter = tensors.pop("barycenter", torch.empty(0)).float()
        with torch.device("meta"):  # costs no memory, so that a header that lies about its sizes costs none either
            encoder = LandmarkEncoder(**sizes)
        weights = {name.removeprefix("encoder."): tensor.float() for name, tensor in tensors.items()}
        try:
            encoder.load_state_dict(weights, assign=True)
        except RuntimeError:
            raise BruleError(f"{path}: its weights are not those its header describes; {_MEND}") from None
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in (barycenter, *weights.values()))
        if not finite or tuple(barycenter.shape) != (sizes["landmarks"], 2):
            raise BruleError(f"{path}: its weights are damaged; {_MEND}")
        encoder = encoder.to(device).eval().requires_grad_(False)
        training = header.get("training")
        return cls(
            encoder,
            barycenter.numpy(),
            scheme,
            sizes["image_size"],
            sizes["map_size"],
            training if isinstance(training, dict) else {},
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
        return torch.from_numpy(np.array(images)).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1

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
) -> None:
    """Write what `Detector.load` reads, atomically. The same weights and words give the same bytes.

    encoder: the LandmarkEncoder that ships; barycenter (K, 2) crop units; architecture: its `stacks`, `width` and
    `depth`; training: anything that JSON holds.
    """
    weights = encoder.state_dict().items()
    tensors = {f"encoder.{name}": value.detach().float().cpu().contiguous() for name, value in weights}
    tensors["barycenter"] = torch.tensor(np.asarray(barycenter), dtype=torch.float32).contiguous()
    header = {
        "format": FORMAT,
        "landmarks": len(scheme.names),
        "image_size": image_size,
        "map_size": map_size,
        "encoder": dict(architecture),
        "scheme": scheme.to_json(),
        "training": dict(training or {}),
    }
    with atomic(path) as temporary:
        save_file(tensors, temporary, {"brule": json.dumps(header, sort_keys=True)})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header under "brule" and the tensors."""
    if not path.is_file():
        raise BruleError(f"{path}: there is no such file; train a detector first (`dvc repro`), or {_MEND}")
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads((stream.metadata() or {})["brule"])
            if not isinstance(header, dict):
                raise KeyError("brule")
            return header, {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError:
        raise BruleError(f"{path}: not a whole safetensors file; {_MEND}") from None
    except (KeyError, ValueError):
        raise BruleError(f"{path}: a safetensors file, but not a brule detector; {_MEND}") from None


def _header(header: Mapping[str, Any], path: Path | str) -> tuple[Scheme, dict[str, int]]:
    """Scheme and constructor arguments, each within bounds."""
    if header.get("format") != FORMAT:
        written = header.get("format")
        raise BruleError(f"{path}: its format is {written}, this brule reads {FORMAT}; use the brule it came with")
    try:
        scheme = Scheme.from_json(header["scheme"])
        flat = {**header, **header["encoder"]}
        sizes = {name: flat[name] for name in _LARGEST}
        bounded = all(type(value) is int and 0 < value <= _LARGEST[name] for name, value in sizes.items())
        if not bounded or sizes["image_size"] % sizes["map_size"] or sizes["landmarks"] != len(scheme.names):
            raise ValueError
    except (BruleError, KeyError, TypeError, ValueError):
        raise BruleError(f"{path}: its header is damaged; {_MEND}") from None
    return scheme, sizes
