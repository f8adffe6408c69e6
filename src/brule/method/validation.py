"""What is measured on held-out images while training: NME, W₁ score and the collapse monitors."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brule.data.faces import Faces
from brule.maths import metrics
from brule.maths.pixels import to_tensor
from brule.maths.probe import probe


def validate(
    encoder: nn.Module,
    faces: Faces,
    X_b: NDArray[np.float64],
    pair: tuple[int, int] | None,
    healthy: dict[str, float],
    device: torch.device,
) -> tuple[dict[str, float], list[str]]:
    """({'validation/nme': %, 'validation/w1': %, 'monitors/…': …}, alarms in words). Errors where there are landmarks.

    healthy: the monitors of the unpaired shapes. An encoder whose answers are not finite has every alarm and no score.
    """
    try:
        found, monitors = probe(lambda I: encoder(I)[-1], _batches(faces, device), X_b, pair)
    except ValueError:  # transport's word for NaN
        return {}, ["encoder is without a finite answer; look at the learning rates in train.stages, train.precision"]
    row = {f"monitors/{name}": value for name, value in monitors.items()}
    if faces.landmarks is not None:
        known = np.isfinite(faces.landmarks).all((1, 2))
        if known.any():
            truth = faces.landmarks[known].astype(np.float64)
            scale = metrics.normaliser(truth, pair)
            row["validation/nme"] = float(np.mean(metrics.nme(found[known], truth, scale)))
            row["validation/w1"] = float(np.mean(metrics.w1_score(found[known], truth, scale)))
    return row, metrics.alarms(monitors, healthy)


def _batches(faces: Faces, device: torch.device, size: int = 64) -> Iterator[Tensor]:
    for start in range(0, len(faces.images), size):
        yield to_tensor(faces.images[start : start + size], device)
