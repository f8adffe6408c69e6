"""The networks of a training as the files that users get."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brule import detector, gan
from brule.data.crop import Framing
from brule.method.training import Training


def ship_detector(path: Path, training: Training, told: Mapping[str, Any]) -> None:
    """The encoder's moving average as it stands; `told`: what the file says of its training beside the mode."""
    config, inputs = training.config, training.inputs
    detector.save(
        path,
        training.networks.E_ema.module,
        barycenter=inputs.X_b,
        scheme=inputs.scheme,
        image_size=config.prepare.image_size,
        map_size=config.model.map_size,
        architecture=config.model.encoder.model_dump(),
        framing=Framing(config.prepare.crop_fill, config.prepare.crop_lift),
        training={"mode": config.train.mode, **told, "initial": inputs.origin},
    )


def ship_gan(path: Path, training: Training) -> None:
    """G's moving average, D, S and S_o as they stand."""
    n = training.networks
    gan.save(
        path,
        {"generator": n.G_ema.module, "discriminator": n.D, "style": n.S, "noise_to_style": n.So},
        landmarks=len(training.inputs.X_b),
        image_size=training.config.prepare.image_size,
        model=training.config.model.model_dump(),
        iterations=int(n.G_ema.n_averaged),
    )
