"""barycenter: the unpaired shapes → X_b, data/barycenter.npy (K, 2), and its picture."""

from pathlib import Path

import numpy as np

from brule import config, figures, files
from brule.data.prepared import BARYCENTER, CROPS, load_scheme, load_shapes
from brule.maths import transport
from brule.terminal import stage


def run() -> None:
    parameters = config.read("params.yaml")
    shapes, scheme = load_shapes(CROPS), load_scheme(CROPS)
    limit = parameters.barycenter.shapes
    if limit and limit < len(shapes):
        # A random choice: the shapes on the disk are sorted, so the first ones are all alike.
        shapes = shapes[np.random.default_rng(parameters.seed).permutation(len(shapes))[:limit]]
    points = transport.barycenter(shapes, iterations=parameters.barycenter.iterations).numpy().astype(np.float32)
    files.save_array(BARYCENTER, points)
    figures.barycenter(points, shapes, scheme, Path("results/barycenter.png"))
    print(f"{BARYCENTER}: {len(points)} landmarks from {len(shapes)} shapes")


if __name__ == "__main__":
    stage(run)
