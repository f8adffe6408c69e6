"""Where the trials of a study start from: the networks that `train` wrote, at the stage that a trial trains."""

from pathlib import Path

from brule import machine
from brule.config import Config
from brule.detector import gan
from brule.errors import BruleError
from brule.method.training import Training
from brule.stages.train import read_inputs

DETECTOR, GAN = Path("models/detector.safetensors"), Path("models/gan.safetensors")


def trained(config: Config) -> tuple[Training, list[Path]]:
    """A training at the first iteration of `tuning.stage`, with the trained networks; and the files it was read from.

    The optimisers and the calibration start afresh, c8, c9, c10 at their full weight. Raises BruleError where the
    models are missing, or are not those of params.yaml.
    """
    stages, name = config.train.stages, config.tuning.stage
    if name not in stages:
        raise BruleError(f"tuning.stage names {name!r}, but train.stages has only {', '.join(stages)}")
    # Long enough for as many lines as there are trials; its rates hardly fall then, as in the middle of a stage.
    stage = stages[name].model_copy(update={"iterations": config.tuning.iterations * (config.tuning.trials + 1)})
    train = config.train.model_copy(update={"stages": {name: stage}, "ramp": 0, "initial": str(DETECTOR)})
    config = config.model_copy(update={"train": train})
    inputs, paths = read_inputs(config)
    training = Training(config, inputs, machine.device(config.train.device))
    n = training.networks
    gan.restore(GAN, {"generator": n.G, "discriminator": n.D, "style": n.S, "noise_to_style": n.So})
    n.G_ema.module.load_state_dict(n.G.state_dict())
    return training, [*paths, GAN]
