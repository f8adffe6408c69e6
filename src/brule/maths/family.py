"""Families of random deformations g: how far an image may be turned, shifted, scaled and bent (section 4)."""

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Family:
    """Ranges from which a fresh g is drawn for every image. Lengths are shares of the image's width.

    What is left out is off. Raises ValueError for a value that is negative or not finite.
    """

    rotation: float
    """Degrees, uniform in ±rotation."""
    shift: float
    """Uniform in ±shift, along x and along y."""
    scale: float
    """Log-uniform in [1/(1 + scale), 1 + scale]."""
    elastic: float = 0.0
    """Standard deviation of the elastic displacement."""
    correlation: float = 0.0
    """Its correlation length: the σ of the Gaussian that smooths white noise."""
    amplitude: float = 0.0
    """Thin-plate warp of the landmarks towards an unpaired shape s, which moves X̂ to X̂ + amplitude·√U·(s − X̂)."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (for params.yaml: a key it does not know is refused)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"{name} = {value!r}: should be 0 or more")
        if self.elastic and not self.correlation:
            raise ValueError("correlation is missing: elastic needs the length over which its displacement varies")


PAPER = Family(rotation=15, shift=0.06, scale=0.10, elastic=0.009, correlation=0.04)
"""That of the paper's geometric regulariser (section 4)."""
