"""Which images to label next: one of every kind, and of each kind one that the detector is in doubt about.

A few labels teach most where they differ from one another. So the images are divided into as many clusters as labels
are wanted, by what they look like and by the landmarks found on them. Outliers teach little about the rest. So the
choice in each cluster falls on the most doubtful image among those near its centre.
"""

import warnings

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2

Floats = npt.NDArray[np.float64]

_SIDE = 8  # pixels of the thumbnail that stands for an image's appearance
_NEAR = 0.5  # of a cluster's images, those nearest to its centre, may be chosen
_STARTS = 10  # of k-means, which ends in a poor division from some of them


def descriptors(crops: npt.NDArray[np.uint8], points: npt.NDArray[np.floating]) -> Floats:
    """What makes images alike, (N, D): crops (N, S, S, 3) as thumbnails, and landmarks (N, K, 2) in crop units.

    A thumbnail is grey, of zero mean and unit contrast, so that exposure does not count. Appearance and landmarks count
    alike: each is divided by its own rms distance from the mean of all images.
    """
    size = crops.shape[1] // _SIDE * _SIDE
    grey = crops[:, :size, :size].astype(np.float64).mean(-1)
    tiles = grey.reshape(len(crops), _SIDE, size // _SIDE, _SIDE, size // _SIDE).mean((2, 4)).reshape(len(crops), -1)
    tiles -= tiles.mean(1, keepdims=True)
    tiles /= np.maximum(tiles.std(1, keepdims=True), 1e-6)
    return np.concatenate([_alike(tiles), _alike(points.reshape(len(points), -1).astype(np.float64))], axis=1)


def choose(kinds: Floats, doubt: Floats, count: int, seed: int = 0) -> list[int]:
    """At most `count` of N images, the most doubtful first.

    kinds: (N, D), see `descriptors`; doubt: (N,), higher is more. k-means makes `count` clusters; each gives the most
    doubtful image of the half nearest to its centre. The place of an empty one goes to the most doubtful image left.
    """
    doubtful = [int(i) for i in np.argsort(-doubt, kind="stable")]
    if count >= len(kinds):
        return doubtful
    labels, away = _clusters(kinds, count, seed)
    chosen = set()
    for cluster in np.unique(labels):
        members = np.flatnonzero(labels == cluster)
        near = members[np.argsort(away[members], kind="stable")][: max(1, round(_NEAR * len(members)))]
        chosen.add(int(near[np.argmax(doubt[near])]))
    chosen |= set([i for i in doubtful if i not in chosen][: count - len(chosen)])
    return [i for i in doubtful if i in chosen]


def _clusters(kinds: Floats, count: int, seed: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """The cluster of each image, and its distance from the cluster's centre, (N,) both: the best of a few divisions."""
    rng = np.random.default_rng(seed)
    best: tuple[npt.NDArray[np.int64], Floats] | None = None
    for _ in range(_STARTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it warns of an empty cluster
            centres, labels = kmeans2(kinds, count, iter=30, minit="points", rng=rng)
        away = np.linalg.norm(kinds - centres[labels], axis=1)
        if best is None or np.square(away).sum() < np.square(best[1]).sum():
            best = labels.astype(np.int64), away
    assert best is not None
    return best


def _alike(rows: Floats) -> Floats:
    rows = rows - rows.mean(0)
    scale = np.sqrt(np.square(rows).sum(1).mean())
    alike: Floats = rows / scale if scale > 0 else rows
    return alike
