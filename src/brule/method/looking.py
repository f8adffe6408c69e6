"""What the encoder finds on an image, in the two forms that the losses want."""

from typing import NamedTuple

from torch import Tensor

from brule.maths import heatmaps
from brule.method.bundle import Networks
from brule.method.context import Settings


class Clean(NamedTuple):
    """What the encoder finds on the image as it is."""

    log_L: Tensor  # (B, K, D, D)
    X_L: Tensor  # (B, K, 2)

    def after(self, count: int) -> "Clean":
        """The same of all images but the first `count`."""
        return Clean(self.log_L[count:], self.X_L[count:])


def look(n: Networks, I: Tensor, s: Settings) -> Clean:
    """E's answer, with its gradient."""
    with s.autocast():
        logits = n.E(I)[-1]
    log_L = heatmaps.log_probabilities(logits)
    return Clean(log_L, heatmaps.coordinates(log_L.exp()))
