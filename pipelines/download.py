"""download: the source in params.yaml → data/raw, as images, `.pts` and a manifest."""

from pathlib import Path


def download() -> None:
    # Imported here, since the renderer's workers import this script too, and start sooner without these.
    from brule import config
    from brule.data.sources import fetch

    parameters = config.read("params.yaml")
    counts = fetch(parameters.data, parameters.seed, Path("data/raw"))
    print("data/raw:", ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    from brule.terminal import stage

    stage(download)
