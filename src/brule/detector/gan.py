"""The trained GAN: one safetensors file in, images of given landmarks out, in random styles or in that of a photo."""

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
from brule.maths.images import to_tensor, to_uint8
from brule.networks.generator import Generator
from brule.networks.style import TRUNCATION, NoiseToStyle, StyleEncoder

KIND = weights.Kind("GAN", "brule-gan", 1, "models/gan.safetensors")
AT_ONCE = 6
"""How many styles `Gan.restyled` draws together."""
_STYLES = 252  # how many it draws before the first ones come round again; a multiple of AT_ONCE
_LARGEST = {"landmarks": 10_000, "image_size": 1024, "map_size": 1024}
_GENERATOR = {"width": 4096, "max_width": 4096}
_STYLE = {"size": 65_536, "width": 4096, "latent": 65_536, "depth": 64}


@dataclass(frozen=True)
class Gan:
    """G with S_o, which makes styles up, and S, which reads the style of a photo."""

    generator: nn.Module
    """G's moving average: (condition, style) → image."""
    noise_to_style: NoiseToStyle
    style_encoder: StyleEncoder
    landmarks: int
    image_size: int
    map_size: int
    condition_sigma: float
    """Width of the rendered landmarks, in heatmap pixels."""
    iterations: int
    """How many iterations of Algorithm 1 trained it. At 0 it has learned nothing."""

    @classmethod
    def load(
        cls, path: Path | str, device: torch.device | str = "cpu", detector: tuple[int, int] | None = None
    ) -> Self:
        """Read a GAN. Raises BruleError, naming the file, if it is missing, damaged, too new or not a GAN.

        detector: how many landmarks the detector beside it finds, and its image size. A GAN that differs is refused.
        """
        header, tensors = weights.load(path, KIND)
        try:
            size = weights.sizes({**header, **header["model"]}, _LARGEST)
            width = weights.sizes(header["model"]["generator"], _GENERATOR)
            style = weights.sizes(header["model"]["style"], _STYLE)
            sigma, iterations = float(header["model"]["condition_sigma"]), int(header["iterations"])
            if not 0 < sigma < _LARGEST["map_size"] or iterations < 0:
                raise ValueError
            weights.demand_room(size["landmarks"], size["map_size"])
            weights.demand_room(max(width["width"], style["width"]), size["image_size"])
            weights.demand_room(width["max_width"], size["map_size"])
            with torch.device("meta"):
                G = Generator(**size, style_size=style["size"], **width)
                So = NoiseToStyle(style["latent"], style["size"], style["depth"])
                S = StyleEncoder(size["image_size"], style["size"], style["width"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise BruleError(f"{path}: its header is damaged; {KIND.mend}") from None
        if detector not in (None, (size["landmarks"], size["image_size"])):
            raise BruleError(
                f"{path}: it draws {size['landmarks']} landmarks at {size['image_size']} px, but the detector finds "
                f"{detector[0]} at {detector[1]} px; use a detector and a GAN from the same `dvc repro`"
            )
        return cls(
            weights.fill(G, tensors, "generator", path, KIND).to(device),
            weights.fill(So, tensors, "noise_to_style", path, KIND).to(device),
            weights.fill(S, tensors, "style", path, KIND).to(device),
            **size,
            condition_sigma=sigma,
            iterations=iterations,
        )

    def styles(self, count: int, truncation: float = TRUNCATION, seed: int = 1) -> Tensor:
        """(count, style_size): truncated styles of fixed noise, starting with those in the sample grids.

        truncation: how far the styles go from their mean, 1: all the way. Another seed brings other styles.
        """
        return self.noise_to_style.truncated(count, truncation, seed)

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

    @torch.inference_mode()
    def restored(self, crop: npt.NDArray[np.uint8], shape: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """G(X, S(I)): a crop I (S, S, 3), redrawn from its landmarks X (K, 2), in crop units, and its style alone."""
        device = next(self.style_encoder.parameters()).device
        drawn: npt.NDArray[np.uint8] = self.images(shape[None], self.style_encoder(to_tensor(crop[None], device)))[0]
        return drawn

    def restyled(self, shape: npt.NDArray[np.float64], turn: int) -> npt.NDArray[np.uint8]:
        """G(X, S_o(z)): landmarks X (K, 2), in crop units, in AT_ONCE styles, (AT_ONCE, S, S, 3).

        Each turn 0, 1, … brings new styles, until turn 42 starts over with those of turn 0.
        """
        first = turn % (_STYLES // AT_ONCE) * AT_ONCE
        return self.images(np.repeat(shape[None], AT_ONCE, 0), self.styles(first + AT_ONCE)[first:])


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

    networks: by name. `Gan.load` reads `generator`, `noise_to_style` and `style`; `restore` reads any of them.
    model: the section `model` of params.yaml. iterations: how many iterations of Algorithm 1 trained them.
    """
    tensors = {f"{name}.{key}": value for name, m in networks.items() for key, value in m.state_dict().items()}
    header = {"landmarks": landmarks, "image_size": image_size, "model": dict(model), "iterations": iterations}
    weights.save(path, KIND, header, tensors)


def restore(path: Path | str, networks: Mapping[str, nn.Module]) -> int:
    """The inverse of `save`: load these networks, under the names they were saved by. Returns the iterations.

    Raises BruleError if the file is missing, damaged, too new or not a GAN, or if a network differs in size.
    """
    header, tensors = weights.load(path, KIND)
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        try:
            network.load_state_dict(own)
        except RuntimeError:
            raise BruleError(
                f"{path}: its {name} does not have the sizes given in params.yaml; train a model of these sizes first"
            ) from None
    try:
        return int(header["iterations"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BruleError(f"{path}: its header is damaged; {KIND.mend}") from None
