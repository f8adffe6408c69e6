"""Pictures of what the networks know: images with landmarks, their restorations, and two styles of one shape."""

import numpy as np
import torch

from brule.data.faces import Faces
from brule.maths import heatmaps
from brule.maths.pixels import to_tensor, to_uint8
from brule.method.bundle import Networks
from brule.method.context import Settings, condition

COUNT = 8


@torch.no_grad()
def samples(n: Networks, faces: Faces, s: Settings, device: torch.device) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({row's name: uint8 (8, S, S, 3)}, landmarks (8, K, 2)) of the first images; the noise is fixed."""
    I = to_tensor(faces.images[:COUNT], device)
    log_L = heatmaps.log_probabilities(n.E_ema(I)[-1])
    X_L = heatmaps.coordinates(log_L.exp())
    L_sp = condition(log_L, X_L, s)
    styles = n.So.truncated(2)[:, None].expand(-1, len(I), -1)  # (2, 8, style)
    rows = {
        "image": I,
        "restored": n.G_ema(L_sp, n.S(I)),
        "style 1": n.G_ema(L_sp, styles[0]),
        "style 2": n.G_ema(L_sp, styles[1]),
    }
    return {name: to_uint8(images) for name, images in rows.items()}, X_L.cpu().numpy()
