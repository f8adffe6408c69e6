"""The Fréchet distance between two sets of images, in the features of a fixed random network.

A pretrained network is not at hand, and a run's own networks would make its numbers its own. Random features tell
images apart as well where these are unlike the photos that pretrained networks know (Naeem et al. 2020, "Reliable
Fidelity and Diversity Metrics for Generative Models").
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from brule.maths.images import to_tensor

Floats = NDArray[np.float64]
CHANNELS = (16, 32, 48, 64)
SEED = 20200612
_AT_ONCE = 64


@torch.no_grad()
def features(images: NDArray[np.uint8]) -> Floats:
    """What a fixed network sees in images (N, S, S, 3): (N, 163), the same on every machine up to float32's rounding.

    h₀ is the image in [−1, 1]; h₁ … h₄ have 16, 32, 48 and 64 channels: hᵢ = relu(Wᵢ ∗ hᵢ₋₁), 3×3 kernels, reflected
    borders, no bias, stride 1 for h₁ and 2 after it. Wᵢ ~ N(0, 2 / inputs), drawn in turn by NumPy's frozen
    RandomState(SEED), inputs = 9 · channels of hᵢ₋₁. The second half of the kernels of each layer then loses its mean
    over 3×3, so that it sees contrast instead of colour. The features are the means of all channels of h₀ … h₄ over
    the image: early ones see colour, blur and grain, late ones how parts are arranged. S ≥ 16.
    """
    kernels = _kernels()
    rows = [np.empty((0, 3 + sum(CHANNELS)))]
    for start in range(0, len(images), _AT_ONCE):
        h = to_tensor(images[start : start + _AT_ONCE], torch.device("cpu"))  # a GPU would round in its own way
        means = [h.mean((2, 3))]
        for depth, W in enumerate(kernels):
            h = F.conv2d(F.pad(h, (1, 1, 1, 1), mode="reflect"), W, stride=2 if depth else 1).relu_()
            means.append(h.mean((2, 3)))
        rows.append(torch.cat(means, 1).double().numpy())
    return np.concatenate(rows)


def _kernels() -> list[Tensor]:
    random, inputs, kernels = np.random.RandomState(SEED), 3, []
    for outputs in CHANNELS:
        W = random.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))
        W[outputs // 2 :] -= W[outputs // 2 :].mean((2, 3), keepdims=True)
        kernels.append(torch.from_numpy(W).float())
        inputs = outputs
    return kernels


def distance(one: Floats, two: Floats) -> float:
    """d² = ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of the rows of (N, F) and (M, F): Heusel et al. 2017.

    This is W₂² between the two Gaussians of these means and covariances. tr (Σ₁Σ₂)^½ is the sum of the singular values
    of X₁X₂ᵀ, with Xᵢ the centred rows over √(n − 1), since Σᵢ = XᵢᵀXᵢ: no root of a matrix is taken, and covariances
    may be singular. Needs two rows of each.
    """
    roots = [_root(rows) for rows in (one, two)]
    shift = one.mean(0) - two.mean(0)
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + sum(np.square(root).sum() for root in roots) - 2 * cross))


def _root(rows: Floats) -> Floats:
    """R (at most F rows) with RᵀR = the covariance of the rows."""
    return np.asarray(np.linalg.qr((rows - rows.mean(0)) / np.sqrt(len(rows) - 1), mode="r"), np.float64)


def standardised(reference: Floats, *others: Floats) -> list[Floats]:
    """Every (N, F) less the mean of `reference`, over its standard deviation: each feature counts alike.

    A feature that the reference does not vary, which images of one colour would give, keeps its unit.
    """
    deviation = reference.std(0)
    unit = np.where(deviation > 1e-6, deviation, 1.0)
    return [(rows - reference.mean(0)) / unit for rows in others]
