"""Stage `train`: images and X_b → the detector and the conditional GAN."""

from pathlib import Path

from brule import config, entry


def main() -> None:
    from brule import trainer  # here, since it imports torch, and Ctrl-C may come meanwhile

    trainer.train(config.read(Path("params.yaml")))


if __name__ == "__main__":
    entry.main(main)
