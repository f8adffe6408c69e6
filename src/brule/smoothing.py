"""Landmarks of a video made calm: the one-euro filter of Casiez, Roussel and Vogel (CHI 2012)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


@dataclass
class OneEuro:
    """x̂ᵢ = α xᵢ + (1 − α) x̂ᵢ₋₁, a low-pass filter whose cutoff f rises with the speed: calm at rest, prompt in motion.

    α(f) = 1 / (1 + 1 / (2π f Δt)), f = f_min + β |v̂| / w, where v̂ is a landmark's velocity, itself filtered with the
    cutoff f_v, and w the width of all landmarks, so that a photo's resolution changes nothing. Of noise at rest
    α / (2 − α) of the variance stays, α = α(f_min), if β = 0; somewhat more otherwise, since β takes noise for motion.
    At a steady s widths a second a landmark trails by s / (2π (f_min + β s)) widths, less than 1 / (2π β) at any speed.
    """

    f_min: float = 1.0
    """Hz: the lower, the calmer at rest."""
    beta: float = 30.0
    """Hz for each width a second: the higher, the less it trails."""
    f_v: float = 3.0
    """Hz: the lower, the calmer at rest, and the later it notices motion."""
    _raw: Points | None = field(default=None, init=False)
    _last: Points | float = field(default=0.0, init=False)
    _velocity: Points | float = field(default=0.0, init=False)
    _time: float = field(default=0.0, init=False)

    def __call__(self, points: Points, time: float) -> Points:
        """x̂ for points (K, 2), pixels, at a time in seconds. The first ones, and those at no later time, stay."""
        step, width = time - self._time, float(np.ptp(points[:, 0]))
        if self._raw is None or not step > 0 or not width > 0:
            self._raw, self._last, self._velocity, self._time = points, points, 0.0, time
            return points
        a = _alpha(self.f_v, step)
        self._velocity = a * (points - self._raw) / step + (1 - a) * self._velocity
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True) / width  # (K, 1)
        alpha = _alpha(self.f_min + self.beta * speed, step)
        smoothed: Points = alpha * points + (1 - alpha) * self._last
        self._raw, self._last, self._time = points, smoothed, time
        return smoothed


def _alpha(cutoff: npt.NDArray[np.float64] | float, step: float) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + 1 / (2 * math.pi * cutoff * step)))
