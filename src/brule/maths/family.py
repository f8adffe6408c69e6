"""Families of random deformations g: how far an image may be turned, shifted, scaled and bent (section 4)."""

from dataclasses import dataclass, replace
from typing import NamedTuple


class Spread(NamedTuple):
    """How far shapes differ in their place in the crop: standard deviations. See `warps.spread`."""

    rotation: float
    """Degrees."""
    shift: float
    """Of the middle, in the direction x or y in which it is smaller. A share of the width."""
    scale: float
    """Of the size, as a share of it."""


@dataclass(frozen=True)
class Family:
    """Ranges from which a fresh g is drawn for every image. Lengths are shares of the image's width.

    What is left out is off. Raises ValueError for a value that is negative, not finite, or beyond any use.
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
    bounded: bool = False
    """Where images are cropped as the unpaired shapes are: turned, shifted and scaled no further than these differ."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (for params.yaml: a key it does not know is refused)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # of `bounded` 0 and 1
            most = 180 if name == "rotation" else 10
            if not 0 <= value <= most:
                raise ValueError(f"{name} = {value!r}: should be from 0 to {most}")
        if self.elastic and not self.correlation:
            raise ValueError("correlation is missing: elastic needs the length over which its displacement varies")

    def within(self, spread: Spread) -> "Family":
        """This family, and no wider than the shapes' own spread.

        An encoder that sees objects moved about cannot learn where in its crop an object lies. Where the crops say it
        better than the image does, as they do of a box that is tight, that knowledge is worth keeping.
        """
        return replace(self, **{name: min(getattr(self, name), limit) for name, limit in spread._asdict().items()})


PAPER = Family(rotation=15, shift=0.06, scale=0.10, elastic=0.009, correlation=0.04)
"""That of the paper's geometric regulariser (section 4)."""
