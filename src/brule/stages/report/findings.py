"""All that the page tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from brule.detector.model import Detector
from brule.stages.wording import Facts


@dataclass(frozen=True)
class Findings:
    """A run that was trained and measured."""

    detector: Detector
    report: Facts
    """As results/metrics.json has it; a monitor may be infinite."""
    trained: Facts
    """results/train.json."""
    manifest: Facts
    """data/crops/manifest.json."""
    parameters: Facts
    """Every parameter under its dotted name, in the order of params.yaml."""
    limits: Mapping[str, float]
    """Each monitor's limit."""
    address: str | None = None
    """The run's page in MLflow."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNGs by name, see `pictures.PLACES`; those that are missing are left out."""
