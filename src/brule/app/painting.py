"""The same landmarks in other styles: what the GAN draws for a face that was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from brule.data.crop import Pixels
from brule.detector import weights
from brule.detector.gan import KIND, Gan
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.networks.style import StyleEncoder

Units = npt.NDArray[np.float64]

AT_ONCE = 6
"""Styles that are drawn together."""
_STYLES = 252


@dataclass(frozen=True)
class Painter:
    """G with S, which reads the style of a photo, and S_o, which makes up others."""

    gan: Gan
    S: StyleEncoder

    @classmethod
    def load(cls, path: Path, detector: Detector) -> Self | None:
        """Read a GAN; None: its file holds one that was never trained.

        Raises BruleError as `Gan.load` does, and where it draws other landmarks or sizes than the detector answers.
        """
        gan = Gan.load(path, detector.device, (len(detector.scheme.names), detector.image_size))
        header, tensors = weights.load(path, KIND)
        try:
            size, width = (int(header["model"]["style"][name]) for name in ("size", "width"))
            with torch.device("meta"):
                S = StyleEncoder(gan.image_size, size, width)
        except (KeyError, TypeError, ValueError):
            raise BruleError(f"{path}: its header is damaged; {KIND.mend}") from None
        return cls(gan, weights.fill(S, tensors, "style", path, KIND).to(detector.device)) if gan.iterations else None

    @torch.inference_mode()
    def restored(self, detector: Detector, crop: Pixels, shape: Units) -> Pixels:
        """G(X, S(I)): the crop I (S, S, 3) drawn anew from its landmarks X (K, 2), crop units, and its style alone."""
        drawn: Pixels = self.gan.images(shape[None], self.S(detector.tensor(crop[None])))[0]
        return drawn

    def others(self, shape: Units, turn: int) -> Pixels:
        """G(X, S_o(z)) in AT_ONCE styles, (AT_ONCE, S, S, 3): others at each turn 0, 1, …, till they come round."""
        first = turn % (_STYLES // AT_ONCE) * AT_ONCE
        styles = self.gan.styles(first + AT_ONCE)[first:]
        return self.gan.images(np.repeat(shape[None], AT_ONCE, 0), styles)
