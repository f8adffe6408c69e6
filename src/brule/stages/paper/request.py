"""What one may ask of a figure."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """Where it goes and what it is drawn from; each figure heeds what it needs."""

    out: Path
    runs: tuple[str, ...] = ()
    """Rows of the results table, DVC experiments, or names or ids of MLflow's runs; empty: the paper's own."""
    detector: Path = Path("models/detector.safetensors")
    gan: Path = Path("models/gan.safetensors")
    style: int = 0
    """Which of the GAN's fixed styles Fig. 5 is drawn in."""
