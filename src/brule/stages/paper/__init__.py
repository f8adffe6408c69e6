"""The paper's pictures, drawn again from one's own runs: `python pipelines/figure.py NAME`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """Where a figure goes and what it is drawn from. Each figure uses what it needs."""

    out: Path
    runs: tuple[str, ...] = ()
    """Rows of the results table, DVC experiments, or names or ids of MLflow's runs. Empty: those of the paper."""
    detector: Path = Path("models/detector.safetensors")
    gan: Path = Path("models/gan.safetensors")
    style: int = 0
    """Which of the GAN's fixed styles Fig. 5 is drawn in."""
