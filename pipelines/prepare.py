"""prepare: data/raw → data/crops, the crops and their landmarks as arrays, split into train, validation and test."""

from pathlib import Path

from brule import config
from brule.data.prepare import prepare
from brule.data.prepared import CROPS
from brule.errors import BruleError
from brule.terminal import stage

RAW = Path("data/raw")


def run() -> None:
    parameters = config.read("params.yaml")
    try:
        normaliser, mode = parameters.data.normaliser, parameters.train.mode
        counts = prepare(RAW, CROPS, parameters.prepare, parameters.seed, normaliser, mode)
    except BruleError as error:
        if not str(error).startswith(f"{RAW}/") or "dvc repro" in str(error):
            raise
        raise BruleError(
            f"{error}. {RAW} is DVC's copy: correct the original, in data.location or data.shapes, then run "
            "`dvc repro -f download && dvc repro`"
        ) from None
    print(f"{CROPS}:", ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    stage(run)
