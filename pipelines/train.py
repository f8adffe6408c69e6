"""Stage `train`: images and X_b → the detector and the conditional GAN."""

from pathlib import Path

from brule import config, terminal


def main() -> None:
    from brule.stages.train import train  # here, since it imports torch, and Ctrl-C may come meanwhile

    train(config.read(Path("params.yaml")))


if __name__ == "__main__":
    terminal.stage(main, together=True)
