"""The trained GAN: one safetensors file in, images of given landmarks in random styles out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from brule.detector import weights
from brule.errors import BruleError
from brule.maths import heatmaps
from brule.maths.images import to_uint8
from brule.networks.generator import Generator
from brule.networks.style import NoiseToStyle

KIND = weights.Kind("GAN", "brule-gan", 1, "models/gan.safetensors")
_LARGEST = {"landmarks": 10_000, "image_size": 4096, "map_size": 4096}
_GENERATOR = {"width": 4096, "max_width": 4096}
_STYLE = {"size": 65_536, "latent": 65_536, "depth": 64}


@dataclass(frozen=True)
class Gan:
    """G and S_o, and what they draw."""

    generator: nn.Module
    """G's moving average: (condition, style) → image."""
    noise_to_style: NoiseToStyle
    landmarks: int
    image_size: int
    map_size: int
    condition_sigma: float
    """Width of the rendered landmarks, in heatmap pixels."""
    iterations: int
    """Of Algorithm 1 that trained it; 0: it never learned anything."""

    @classmethod
    def load(
        cls, path: Path | str, device: torch.device | str = "cpu", detector: tuple[int, int] | None = None
    ) -> Self:
        """Read a GAN. Raises BruleError naming the file where it is missing, foreign, damaged or too new.

        detector: how many landmarks the detector beside it answers, and at which image size; another GAN is refused.
        """
        header, tensors = weights.load(path, KIND)
        try:
            size = weights.sizes({**header, **header["model"]}, _LARGEST)
            width = weights.sizes(header["model"]["generator"], _GENERATOR)
            style = weights.sizes(header["model"]["style"], _STYLE)
            sigma, iterations = float(header["model"]["condition_sigma"]), int(header["iterations"])
            if not 0 < sigma < _LARGEST["map_size"] or iterations < 0:
                raise ValueError
            with torch.device("meta"):
                G = Generator(**size, style_size=style["size"], **width)
                So = NoiseToStyle(style["latent"], style["size"], style["depth"])
        except (KeyError, TypeError, ValueError):
            raise BruleError(f"{path}: its header is damaged; {KIND.mend}") from None
        if detector not in (None, (size["landmarks"], size["image_size"])):
            raise BruleError(
                f"{path}: it draws {size['landmarks']} landmarks at {size['image_size']} px, the detector answers "
                f"{detector[0]} at {detector[1]} px; take the two that one `dvc repro` has trained"
            )
        return cls(
            weights.fill(G, tensors, "generator", path, KIND).to(device),
            weights.fill(So, tensors, "noise_to_style", path, KIND).to(device),
            **size,
            condition_sigma=sigma,
            iterations=iterations,
        )

    def styles(self, count: int) -> Tensor:
        """(count, style_size): truncated styles of fixed noise, those that the sample grids show first."""
        return self.noise_to_style.truncated(count)

    @torch.inference_mode()
    def images(self, shapes: npt.ArrayLike, styles: Tensor, batch_size: int = 64) -> npt.NDArray[np.uint8]:
        """G(shape, style): shapes (N, K, 2) in crop units, styles (N, style_size) → (N, S, S, 3) uint8."""
        points = torch.tensor(np.asarray(shapes), dtype=torch.float32, device=styles.device)
        drawn = [np.empty((0, self.image_size, self.image_size, 3), np.uint8)]
        for start in range(0, len(points), batch_size):
            rows = slice(start, start + batch_size)
            condition = heatmaps.condition(points[rows], self.map_size, self.condition_sigma)
            drawn.append(to_uint8(self.generator(condition, styles[rows])))
        return np.concatenate(drawn)


def save(
    path: Path | str,
    networks: Mapping[str, nn.Module],
    *,
    landmarks: int,
    image_size: int,
    model: Mapping[str, Any],
    iterations: int,
) -> None:
    """Write what `Gan.load` reads, atomically.

    networks: by name, of which `generator` and `noise_to_style` are read again; model: the parameters `model` of
    params.yaml; iterations: how many of Algorithm 1 trained them.
    """
    tensors = {f"{name}.{key}": value for name, m in networks.items() for key, value in m.state_dict().items()}
    header = {"landmarks": landmarks, "image_size": image_size, "model": dict(model), "iterations": iterations}
    weights.save(path, KIND, header, tensors)


def restore(path: Path | str, networks: Mapping[str, nn.Module]) -> None:
    """The inverse of `save`: load these networks, under the names they were saved by. Raises BruleError as `Gan.load`
    does, and where a network is not of the file's sizes."""
    _, tensors = weights.load(path, KIND)
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        try:
            network.load_state_dict(own)
        except RuntimeError:
            raise BruleError(f"{path}: its {name} is not of the sizes in params.yaml; train with these first") from None
