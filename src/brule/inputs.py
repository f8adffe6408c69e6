"""What a run of the `train` stage may see: images, landmarks as the mode allows, the prior, weights to start from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from brule.config import Config
from brule.data import faces as data
from brule.detector import Detector
from brule.errors import BruleError
from brule.method.training import Inputs


def read_inputs(
    config: Config, folder: Path = data.FACES, barycenter: Path = data.BARYCENTER
) -> tuple[Inputs, list[Path]]:
    """What the mode may see, and the files it was read from. An unsupervised run opens no training landmarks."""
    train = data.load(folder, "train", labels=config.train.mode != "unsupervised")
    scheme = data.load_scheme(folder)
    paths = [folder / "manifest.json", folder / "shapes.npy", barycenter, folder / "train/images.npy"]
    paths += [folder / f"validation/{name}" for name in ("images.npy", "landmarks.npy")]
    encoder = gan = train
    if train.landmarks is not None:
        paths.append(folder / "train/landmarks.npy")
        known = np.flatnonzero(train.index["labelled"])
        encoder = replace(
            train, images=train.images[known], landmarks=train.landmarks[known], index=train.index.iloc[known]
        )
        if len(encoder.images) == 0:
            raise BruleError(
                f"train.mode is {config.train.mode}, but no training image in {folder} has landmarks; use unsupervised"
            )
        gan = replace(encoder if config.train.mode == "supervised" else train, landmarks=None)
    X_b = data.load_barycenter(barycenter)
    initial, origin = _initial(config, len(X_b), paths)
    inputs = Inputs(
        encoder=encoder,
        gan=gan,
        validation=data.load(folder, "validation", labels=True),
        scheme=scheme,
        X_b=X_b,
        shapes=data.load_shapes(folder),
        initial=initial,
        origin=origin,
    )
    for name, faces in (("train", train), ("validation", inputs.validation)):
        if len(faces.images) == 0:
            raise BruleError(
                f"{folder}/{name} holds no images; bring more, or change prepare.{name if name != 'train' else 'limit'}"
            )
    return inputs, paths


def _initial(config: Config, landmarks: int, paths: list[Path]) -> tuple[dict[str, torch.Tensor], str | None]:
    """The weights of `train.initial`, whose file joins `paths`, and their origin; none where E starts at random."""
    if config.train.initial is None:
        return {}, None
    path = Path(config.train.initial)
    if not path.exists():  # in models/ it is an output of this very stage, which DVC removes before the stage runs
        raise BruleError(f"train.initial: {path} does not exist; copy the detector to a place outside models/")
    detector = Detector.load(path)
    found = {"landmarks": len(detector.scheme.names), "image_size": detector.image_size, "map_size": detector.map_size}
    wanted = {"landmarks": landmarks, "image_size": config.prepare.image_size, "map_size": config.model.map_size}
    found, wanted = found | dict(detector.architecture), wanted | config.model.encoder.model_dump()
    if found != wanted:
        raise BruleError(f"train.initial: {path} is an encoder of {found}, the run's is {wanted}; make them agree")
    paths.append(path)
    told = detector.training
    return dict(detector.encoder.state_dict()), f"{told.get('mode')}, fingerprint {told.get('fingerprint')}"
