"""Which faces are kept as images, whose landmarks training may see, and which faces lend their shapes to the prior."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from brule import config
from brule.data.framing import Face
from brule.data.layouts import Split
from brule.data.splits import halve
from brule.errors import BruleError

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def choose(
    faces: Sequence[Face], prepare: config.Prepare, seed: int, instead: bool, labelled: Collection[str]
) -> tuple[list[Face], list[Face]]:
    """The images kept, at most `limit` of a split; and as many training images of the source that lend their shapes.

    `instead`: extra images come in the place of the source's, which then only lend their shapes. `labelled`: names of
    the images that alone keep their landmarks; () where all may. Raises BruleError naming the key.
    """
    lends, shows = _halves(faces, seed, labelled) if prepare.halves else (_always, _always)
    order = np.random.default_rng([seed, 2]).permutation(len(faces)) if prepare.limit else np.arange(len(faces))
    kept: list[int] = []
    for split in SPLITS:
        members = [i for i in order if faces[i].split == split]
        if split == "train":
            members = [i for i in members if shows(faces[i]) and (faces[i].record.extra or not instead)]
            # Where there is a limit the listed images come first: few labels are few already.
            members.sort(key=lambda i: faces[i].record.image not in labelled)
        kept += members[: prepare.limit]
    if not any(faces[i].split == "train" for i in kept):
        raise BruleError("prepare: no training image is left; give more images, or smaller validation and test shares")
    lenders = [faces[i] for i in order if faces[i].split == "train" and faces[i].landmarks is not None]
    lenders = [face for face in lenders if lends(face)][: prepare.limit]
    return [_hidden(faces[i], labelled) for i in sorted(kept)], lenders


def check(prepare: config.Prepare, labelled: Collection[str], shapes: bool, instead: bool) -> None:
    """Raise BruleError where keys contradict each other. `shapes`: they were given, and are not the training part's."""
    if prepare.halves and (shapes or instead):
        key = "data.shapes is given" if shapes else "data.extra.use is instead"
        raise BruleError(f"prepare.halves: {key}, so no shape is that of a training image anyway; set it to false")
    if labelled and instead:
        raise BruleError("prepare.labelled: data.extra.use is instead, so no listed image trains; set it to join")
    if prepare.limit and len(labelled) > prepare.limit:
        raise BruleError(
            f"prepare.limit: {prepare.limit} is less than the {len(labelled)} images of {prepare.labelled}; raise it"
        )


def _always(_: Face) -> bool:
    return True


def _hidden(face: Face, labelled: Collection[str]) -> Face:
    """The face without landmarks, where it is a training image that the list does not name."""
    if not labelled or face.split != "train" or face.record.image in labelled:
        return face
    return replace(face, landmarks=None)


def _halves(
    faces: Sequence[Face], seed: int, labelled: Collection[str]
) -> tuple[Callable[[Face], bool], Callable[[Face], bool]]:
    """Whether a training face lends its shape, and whether it shows its image: no photo group does both.

    Photos without landmarks have no shape to lend, and all show their images. So do extra images, but for those of a
    photo that lends.
    """
    training = [face for face in faces if face.split == "train" and not face.record.extra]
    shaped = {face.group for face in training if face.landmarks is not None}
    if len(shaped) < 2:
        raise BruleError(
            f"prepare.halves: photos of the training part with landmarks: {len(shaped)}, which are no two halves; "
            "give more photos, or set it to false"
        )
    named = {face.group for face in training if face.record.image in labelled}
    lending = halve(Counter(face.group for face in training if face.group in shaped), named, seed)
    if not lending:
        raise BruleError("prepare.halves: prepare.labelled names every photo, so none is left to lend its shape")
    return lambda face: face.group in lending, lambda face: face.group not in lending
