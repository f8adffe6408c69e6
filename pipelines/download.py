"""download: the source named in params.yaml → data/raw, as images, `.pts` and a manifest."""

from pathlib import Path

from brule import config
from brule.data.sources import fetch
from brule.entry import main


def download() -> None:
    parameters = config.read("params.yaml")
    counts = fetch(parameters.data, parameters.seed, Path("data/raw"))
    print("data/raw:", ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main(download)
