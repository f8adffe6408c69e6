"""params.yaml → frozen typed sections, checked once at the rim and passed inward as objects."""

from brule.config.faces import (
    Barycenter,
    Data,
    Encoder,
    Extra,
    Family,
    Model,
    Prepare,
    Pyramid,
    Style,
    Synthetic,
)
from brule.config.reading import Config, Evaluate, Tracking, fingerprint, flatten, parse, read
from brule.config.section import Section
from brule.config.training import Loss, Stage, Tolerances, Train
from brule.config.tuning import Tuning

__all__ = [
    "Barycenter",
    "Config",
    "Data",
    "Encoder",
    "Evaluate",
    "Extra",
    "Family",
    "Loss",
    "Model",
    "Prepare",
    "Pyramid",
    "Section",
    "Stage",
    "Style",
    "Synthetic",
    "Tolerances",
    "Tracking",
    "Train",
    "Tuning",
    "fingerprint",
    "flatten",
    "parse",
    "read",
]
