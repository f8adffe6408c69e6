"""Stage `train`: images and X_b → the detector and the conditional GAN."""

from pathlib import Path

from brule import config, entry, trainer


def main() -> None:
    trainer.train(config.read(Path("params.yaml")))


if __name__ == "__main__":
    entry.main(main)
