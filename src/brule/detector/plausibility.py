"""How much an answer is like those that a detector gives on what it was trained on: one number a photo, from 0 to 1.

Three parts say how unlikely an answer is, each as the logarithm of a ratio, so that they can be added:

- shape: how far the found shape lies from the unpaired shapes of training, see `Prior`;
- views: how far the answers on the crop's mirror image and on turned and scaled views of it lie apart;
- maps: how wide the heatmaps are, which is −log of the confidence.

Each is measured against the validation crops, by its median m and its spread s there, without a label:

    doubt = mean of max(−2, (part − m) / s),   plausibility = 1 / (1 + exp(doubt − limit))

The limit is what all but one in fifty of the validation crops stay below. So a plausibility below ½ says the same of
every detector: this crop is unlike nearly all that it was trained on. This module opens no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from brule.data.crop import Pixels
from brule.errors import BruleError
from brule.maths.images import mirror_all, to_tensor, to_uint8

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Look = Callable[[Pixels], tuple[Floats, Floats]]
"""Crops (B, S, S, 3) → points (B, K, 2) in crop units, and confidences (B, K)."""

PARTS = ("shape", "views", "maps")
THRESHOLD = 0.5
"""An answer whose plausibility is below this is unlike what the detector was trained on."""
QUANTILE = 0.98
"""The share of validation crops whose doubt stays below the limit."""
MODES = 40
"""Modes of the shapes that are kept, at most."""
VIEWS = ((8.0, 1.0), (-8.0, 1.0), (0.0, 0.88), (0.0, 1.14))
"""Turns in degrees, and how much larger the object becomes: little enough that every detector has trained on them."""
_NOISE = 0.02
"""The standard deviation of a coordinate by which a good answer is off, over the shape's radius."""
_NARROWEST = 0.02
"""The least spread of a part: on a detector whose maps are all as sharp as can be it would be nothing."""
_LEAST = -2.0
"""How far below its median a part counts."""
_MEASURED = 500
"""Validation crops on which the parts are measured, at most."""
_BATCH = 32
_COMPLEX = np.array([1, 1j])
_POINT = 1e-16  # the square of a size that is rounding alone
_NOTHING = 1e-4
"""A part's ratio is never below this: two views may agree to the last bit."""


@dataclass(frozen=True, eq=False)
class Prior:
    """The unpaired shapes as a Gaussian about X_b, after the best similarity of each onto X_b.

    Its covariance is shrunk towards a multiple of the identity by the oracle approximating shrinkage of Chen, Wiesel,
    Eldar and Hero (2010), so that ten shapes of 68 points will do, and a good answer's own noise is added to it. Kept
    are the leading modes with their variances; every direction outside has the variance `rest`. Lengths are in radii
    of X_b, the root of the mean square distance from its centre.
    """

    mean: Doubles
    """(K, 2): X_b."""
    modes: Doubles
    """(r, 2K), orthonormal rows."""
    variances: Doubles
    """(r,)."""
    rest: float

    @classmethod
    def of(cls, shapes: npt.ArrayLike, barycenter: npt.ArrayLike, flip: tuple[int, ...] | None) -> Self:
        """The prior of shapes (M, K, 2) about X_b (K, 2); where a mirror is known, of their mirror images too."""
        every, mean = np.array(shapes, np.float64), np.array(barycenter, np.float64)
        if flip is not None:
            every = np.concatenate((every, mirror_all(torch.from_numpy(every), torch.tensor(flip)).numpy()))
        residuals = _residuals(every, mean)
        residuals = residuals[np.isfinite(residuals).all(1)]
        count, size = residuals.shape
        if not count:
            return cls(mean, np.empty((0, size)), np.empty(0), 1.0)
        _, scales, modes = np.linalg.svd(residuals, full_matrices=False)
        variances = scales**2 / count
        rho, average = shrinkage(variances, size, count), variances.sum() / size
        kept = min(MODES, len(variances), size - 1)
        beyond = (1 - rho) * variances[kept:].sum() / (size - kept)
        rest = rho * average + beyond + _NOISE**2
        return cls(mean, modes[:kept], (1 - rho) * variances[:kept] + rho * average + _NOISE**2, float(rest))

    def distance(self, points: npt.ArrayLike) -> Doubles:
        """The Mahalanobis distance of shapes (B, K, 2) over √(2K): (B,), about 1 for a shape of the prior's own."""
        residuals = _residuals(np.array(points, np.float64), self.mean)
        inside = residuals @ self.modes.T
        outside = (residuals**2).sum(1) - (inside**2).sum(1)
        squared = (inside**2 / self.variances).sum(1) + outside.clip(0) / self.rest
        return np.asarray(np.sqrt(squared / residuals.shape[1]))


def shrinkage(variances: Doubles, size: int, count: int) -> float:
    """ρ of the oracle approximating shrinkage (1 − ρ)·S + ρ·(tr S / p)·I.

    variances: the eigenvalues of S, those that are not 0; size: p; count: the samples.
    """
    average, squares = variances.sum() / size, (variances**2).sum() / size**2
    below = (count + 1) * (squares - average**2 / size)
    return 1.0 if below <= 0 else float(min(1, (squares + average**2) / below))


def _residuals(shapes: Doubles, mean: Doubles) -> Doubles:
    """Shapes (B, K, 2) minus X_b after their best similarity onto it, in radii of X_b: (B, 2K).

    A similarity is a complex factor. Where all points of a shape coincide there is none, and the answer is NaN.
    """
    centred, target = (each - each.mean(-2, keepdims=True) for each in (shapes, mean))
    z, w = centred @ _COMPLEX, target @ _COMPLEX
    square = (np.abs(z) ** 2).sum(1)
    with np.errstate(invalid="ignore"):
        apart = z * (z.conj() @ w / np.where(square > _POINT, square, np.nan))[:, None] - w
    return np.asarray(np.stack((apart.real, apart.imag), -1).reshape(len(shapes), -1) / radius(mean))


def radius(points: npt.NDArray[Any]) -> Any:
    """The root of the mean square distance from the centre: (…, K, 2) → (…)."""
    return np.sqrt(((points - points.mean(-2, keepdims=True)) ** 2).sum(-1).mean(-1))


def views(look: Look, crops: Pixels, flip: tuple[int, ...] | None) -> Floats:
    """What is found on the mirror image and on VIEWS of crops (B, S, S, 3), undone: (V, B, K, 2) in crop units."""
    images = to_tensor(crops, torch.device("cpu"))
    turns = [_turn(*view) for view in VIEWS]
    shown = [] if flip is None else [np.ascontiguousarray(crops[:, :, ::-1])]
    for back in turns:
        affine = torch.cat((back, torch.zeros(2, 1)), 1).expand(len(crops), 2, 3)
        grid = affine_grid(affine, list(images.shape), align_corners=False)
        shown.append(to_uint8(grid_sample(images, grid, padding_mode="reflection", align_corners=False)))
    found = list(look(np.concatenate(shown))[0].reshape(len(shown), len(crops), -1, 2))
    undone = [] if flip is None else [mirror_all(torch.from_numpy(found.pop(0)), torch.tensor(flip)).numpy()]
    undone += [(points - 0.5) @ back.numpy().T + 0.5 for points, back in zip(found, turns, strict=True)]
    return np.stack(undone)


def _turn(angle: float, scale: float) -> Tensor:
    """Where a point of a view came from, about the middle: (2, 2)."""
    cosine, sine = (f(math.radians(angle)) / scale for f in (math.cos, math.sin))
    return torch.tensor([[cosine, sine], [-sine, cosine]])


@dataclass(frozen=True, eq=False)
class Judge:
    """Says how plausible answers are: the prior, and what the parts are on the validation crops."""

    prior: Prior
    medians: Doubles
    """(3,), of shape, views and maps."""
    spreads: Doubles
    """(3,), 1.4826 times the median distance from the median, as the standard deviation of a Gaussian."""
    limit: float
    flip: tuple[int, ...] | None

    @classmethod
    def measured(cls, look: Look, crops: Pixels, prior: Prior, flip: tuple[int, ...] | None) -> Self:
        """The judge of the detector behind `look`, by validation crops (N, S, S, 3), N ≥ 1, without their labels.

        Raises BruleError if the detector gives no finite answer on them.
        """
        parts = np.concatenate(list(_measures(look, crops[:: math.ceil(len(crops) / _MEASURED)], prior, flip)))
        parts = parts[np.isfinite(parts).all(1)]
        if not len(parts):
            raise BruleError("training: the encoder gives no finite answer on the validation crops; train it again")
        medians = np.median(parts, 0)
        spreads = (1.4826 * np.median(np.abs(parts - medians), 0)).clip(_NARROWEST)
        judge = cls(prior, medians, spreads, 0.0, flip)
        return replace(judge, limit=float(np.quantile(judge._doubt(parts), QUANTILE)))

    def doubts(self, points: npt.NDArray[Any], confidence: npt.NDArray[Any]) -> Doubles:
        """A first opinion, without other views: the mean of (part − m) / s of shape and maps, (B,); NaN: +∞."""
        parts = np.stack((_shape(self.prior, points), _maps(confidence)), 1)
        return np.nan_to_num(self._doubt(parts, [0, 2]), nan=np.inf)

    def plausibility(self, points: npt.NDArray[Any], confidence: npt.NDArray[Any], seen: npt.NDArray[Any]) -> Doubles:
        """Answers (B, K, 2) with confidences (B, K), and what `views` found on their crops → (B,) in [0, 1]."""
        parts = _parts(self.prior, points, confidence, seen)
        doubt = self._doubt(parts) - self.limit
        return np.asarray(np.nan_to_num(1 / (1 + np.exp(doubt.clip(-500, 500))), nan=0.0))

    def _doubt(self, parts: Doubles, which: Sequence[int] = (0, 1, 2)) -> Doubles:
        """No part buys off another: answers that agree to the last bit may agree on nonsense."""
        which = list(which)
        return np.asarray(((parts - self.medians[which]) / self.spreads[which]).clip(_LEAST).mean(1))

    def facts(self) -> dict[str, Any]:
        """What fits into JSON; the rest is in `tensors`."""
        numbers = {"medians": self.medians.tolist(), "spreads": self.spreads.tolist()}
        return {**numbers, "rest": self.prior.rest, "limit": self.limit}

    def tensors(self) -> dict[str, Tensor]:
        """The prior's modes and variances."""
        return {"modes": torch.tensor(self.prior.modes), "variances": torch.tensor(self.prior.variances)}

    @classmethod
    def restored(
        cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], mean: npt.ArrayLike, flip: tuple[int, ...] | None
    ) -> Self:
        """The inverse of `facts` and `tensors`; mean: X_b (K, 2).

        Raises KeyError, TypeError or ValueError if they are damaged.
        """
        centre, count = np.array(mean, np.float64), len(PARTS)
        modes, variances = (tensors[name].double().numpy() for name in ("modes", "variances"))
        medians, spreads = (np.array(facts[name], np.float64) for name in ("medians", "spreads"))
        rest, limit = float(facts["rest"]), float(facts["limit"])
        shapes = (modes.shape, medians.shape, spreads.shape)
        if shapes != ((len(variances), centre.size), (count,), (count,)) or len(variances) > MODES:
            raise ValueError(f"plausibility: sizes {shapes} do not fit")
        numbers = (modes, variances, medians, spreads, np.array([rest, limit]))
        if not all(np.isfinite(each).all() for each in numbers) or min(rest, spreads.min(), *variances) <= 0:
            raise ValueError("plausibility: its numbers are out of bounds")
        return cls(Prior(centre, modes, variances, rest), medians, spreads, limit, flip)


def _measures(look: Look, crops: Pixels, prior: Prior, flip: tuple[int, ...] | None) -> Iterator[Doubles]:
    for start in range(0, len(crops), _BATCH):
        batch = np.array(crops[start : start + _BATCH])
        yield _parts(prior, *look(batch), views(look, batch, flip))


def _parts(prior: Prior, points: npt.NDArray[Any], confidence: npt.NDArray[Any], seen: npt.NDArray[Any]) -> Doubles:
    """(B, 3), in the order of PARTS."""
    apart = np.linalg.norm(seen - points, axis=-1).mean((0, 2)) / radius(points).clip(_NOTHING)
    return np.stack((_shape(prior, points), np.log(apart + _NOTHING), _maps(confidence)), 1)


def _shape(prior: Prior, points: npt.NDArray[Any]) -> Doubles:
    return np.log(prior.distance(points) + _NOTHING)


def _maps(confidence: npt.NDArray[Any]) -> Doubles:
    return np.asarray(-np.log(confidence.astype(np.float64) + _NOTHING).mean(-1))
