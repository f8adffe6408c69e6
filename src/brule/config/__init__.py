"""params.yaml → frozen typed sections, checked once at the rim and passed inward as objects."""

from brule.config.faces import (
    Barycenter,
    Data,
    Discriminator,
    Encoder,
    Extra,
    Family,
    Generator,
    Model,
    Prepare,
    Style,
    Synthetic,
)
from brule.config.reading import Config, Evaluate, Tracking, fingerprint, flatten, parse, read
from brule.config.section import Section
from brule.config.training import Loss, Stage, Tolerances, Train

__all__ = [
    "Barycenter",
    "Config",
    "Data",
    "Discriminator",
    "Encoder",
    "Evaluate",
    "Extra",
    "Family",
    "Generator",
    "Loss",
    "Model",
    "Prepare",
    "Section",
    "Stage",
    "Style",
    "Synthetic",
    "Tolerances",
    "Tracking",
    "Train",
    "fingerprint",
    "flatten",
    "parse",
    "read",
]
