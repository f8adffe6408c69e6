"""NME and W₁ of detectors on the prepared validation and test splits, in percent.

PYTHONPATH=src python scripts/score.py results/tuning/first.safetensors results/tuning/best.safetensors
"""

import sys
from pathlib import Path

import numpy as np

from brule.data import prepared
from brule.detector.model import Detector
from brule.stages.scores import measure
from brule.terminal import main


def run() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: PYTHONPATH=src python scripts/score.py DETECTOR.safetensors …")
    X_b = prepared.load_barycenter().astype(np.float64)
    splits = {name: prepared.load(prepared.CROPS, name, labels=True) for name in ("validation", "test")}
    for path in map(Path, sys.argv[1:]):
        detector = Detector.load(path)
        for name, split in splits.items():
            scores = measure(detector, split, X_b).scores
            if scores["nme"] is None:
                print(f"{path}  {name}: no landmarks to measure against")
            else:
                print(f"{path}  {name}: NME {scores['nme']:.2f}  W₁ {scores['w1']:.2f}  ({scores['images']} images)")


if __name__ == "__main__":
    main(run)
