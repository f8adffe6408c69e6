"""prepare: data/raw → data/faces, crops and landmarks as arrays, split into train, validation and test."""

from pathlib import Path

from brule import config
from brule.data.faces import FACES
from brule.data.preparing import prepare
from brule.entry import main


def run() -> None:
    parameters = config.read("params.yaml")
    counts = prepare(Path("data/raw"), FACES, parameters.prepare, parameters.seed, parameters.data.normaliser)
    print(f"{FACES}:", ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main(run)
