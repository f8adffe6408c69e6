"""Stage `train`: images and X_b → the detector and the conditional GAN."""

from pathlib import Path

from brule import config
from brule import terminal as entry


def main() -> None:
    from brule.stages import train as trainer

    trainer.train(config.read(Path("params.yaml")))


if __name__ == "__main__":
    entry.main(main)
