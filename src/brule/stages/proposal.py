"""From photos and shapes to an experiment: what was found, the YAML that pipelines/experiment.py runs, and a sheet."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from brule import config, files, machine
from brule.config import Config
from brule.data.crop import cut_file
from brule.data.download import address, called, local, unpacked
from brule.data.labels import Labels, Points
from brule.data.landmarks import read_shapes
from brule.data.layouts import Found, Record
from brule.data.matching import agree
from brule.data.prepare import SPLITS, Crop, frame, framed
from brule.data.prepared import Crops
from brule.data.schemes import Scheme
from brule.errors import BruleError, counted
from brule.figures import contact
from brule.maths import transport
from brule.maths.images import mirror_all
from brule.method.geometry import SHAPES_PER_MODE
from brule.method.training import Inputs
from brule.stages import experiments, forecast
from brule.stages.survey import Frame, Photos, labelled, named, proposed, survey

SHOWN = 12
"""Crops on the sheet."""
SHARP = 320
"""Pixels of a crop on the sheet, which is cut as `prepare` will cut it, but finer."""
MOST = 100
"""Shapes from which the sheet's barycenter is computed. The stage takes all, and more time."""
TRIED = 64
"""Crops that the trial iterations see."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What was found, and what is proposed."""

    name: str
    photos: Photos
    shapes: Labels
    """Those of the file, or else the photos' own."""
    given: bool
    """Whether a file of shapes was given."""
    scheme: Scheme
    frame: Frame
    splits: Mapping[str, int]
    """Photos for training, validation and test."""
    twins: int
    """Photos that are, byte for byte, copies of others."""
    modes: tuple[int, int]
    """Modes that the shapes allow, and that the schedule asks for at most; (0, …) where no training photo is framed."""
    named: int
    """Photos that the shapes name as their images."""
    seconds: float
    """That the training will take."""
    image_size: int
    """Pixels of a crop's side."""
    experiment: Path
    sheet: Path


def propose(
    location: str,
    shapes: str | None,
    labels: str | None = None,
    name: str | None = None,
    fill: float | None = None,
    replace: bool = False,
    gan: bool = False,
    fine: bool = False,
) -> Proposal:
    """Look at photos and shapes, and write experiments/NAME.yaml and results/NAME-sheet.png; both or neither.

    location: a folder, an archive or a URL, as `data.location`. shapes: as `data.shapes`; None: the landmarks of the
    photos. labels: as `data.labels`; None: the `.pts` beside the photos alone. fill: `prepare.crop_fill`, where the
    user knows better. replace: an experiment of this name may exist. gan: the stages that train the GAN stay; without
    them the detector is as good, and there sooner. fine: with the values of experiments/fine.yaml.
    Raises BruleError naming what is wrong, with nothing written.
    """
    root = Path()
    experiments.workspace(root)  # is this a project?
    base = experiments.committed(root)
    for place, key in ((location, "PHOTOS"), (shapes, "--shapes"), (labels, "--labels")):
        if place and "://" in place:
            _open_to_all(place, key)
    name = _name(location, name)
    experiment, sheet = root / "experiments" / f"{name}.yaml", root / "results" / f"{name}-sheet.png"
    if experiment.exists() and not replace:
        raise BruleError(f"{experiment} already exists; --force replaces it, --name gives another name")
    with _here(location) as folder, _workspace(labels) as workspace:
        photos, told = survey(folder), None
        if labels:
            photos, told = labelled(photos, labels, workspace, "--labels")
        prior = _shapes(shapes, photos, told)
        stands = proposed(photos, prior)
        if fill is not None:
            stands = stands._replace(fill=fill, measured=0)
        overrides = _overrides(location, shapes, labels, prior, stands, base)
        if not gan:
            overrides["stages"] = _without_gan(base["stages"])
        if fine:
            overrides = experiments.merge(overrides, experiments.load(experiment.parent, "fine"))
        settings = config.parse(experiments.merge(base, overrides), str(experiment))
        crops = _crops(folder, photos, settings, measured_first=shapes is not None)
        splits = _splits(location, crops)
        scheme = prior.scheme or Scheme.of(prior.points.shape[1])
        flip = scheme.flip if settings.augment.flip else None
        framed_shapes = np.stack([frame(shape, settings.prepare, shapes or location)[1] for shape in prior.points])
        X_b = _barycenter(framed_shapes, settings, flip)
        proposal = Proposal(
            name=name,
            photos=photos,
            shapes=prior,
            given=shapes is not None,
            scheme=scheme,
            frame=stands,
            splits=splits,
            twins=len(crops) - len({crop.group for crop in crops}),
            modes=_modes(crops, len(prior.points) * (2 if flip else 1), settings),  # training adds their mirror images
            named=len({number for number in named(photos, prior) if number >= 0}),
            seconds=_seconds(folder, crops, framed_shapes, X_b, scheme, settings, splits["validation"]),
            image_size=settings.prepare.image_size,
            experiment=experiment,
            sheet=sheet,
        )
        shown = _some(_training(crops), SHOWN, settings.seed)
        pictures = _cut(folder, shown, max(SHARP, settings.prepare.image_size))
        with files.atomic(sheet) as drawn, files.atomic(experiment) as written:
            _draw(proposal, pictures, X_b, drawn)
            written.write_text(_text(proposal, overrides, gan, fine), encoding="utf-8")
    return proposal


_SECRETS = re.compile(r"sig|token|key|secret|pass|cred|auth|^x-(amz|goog)-", re.IGNORECASE)
"""In the names of what a query gives."""


def _open_to_all(location: str, key: str) -> None:
    """Raise BruleError if a URL holds a secret: an experiment is a file that others see."""
    parts = address(location, key)
    given = (name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    if parts.username or parts.password or any(map(_SECRETS.search, given)):
        raise BruleError(
            f"{location}: holds a password or a signature, which the experiment would keep; put the user and the "
            "password into ~/.netrc, or download it and give the file"
        )


def _name(location: str, name: str | None) -> str:
    """The name given, if it can be an experiment's; else that of the place, made such a name."""
    if name is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise BruleError(f"--name {name}: is not a name for an experiment; use letters, digits, - and _")
        return name
    place = address(location, "PHOTOS").path if "://" in location else str(Path(location).expanduser().resolve())
    stem = Path(place).name.split(".")[0]
    made = re.sub(r"[^a-z0-9_]+", "-", stem.lower()).strip("-_")
    if not made:
        raise BruleError(f"{location}: gives the experiment no name; choose one with --name")
    return made


@contextmanager
def _here(location: str) -> Iterator[Path]:
    """The folder of photos."""
    with (
        local(location, key="PHOTOS") as path,
        tempfile.TemporaryDirectory() as workspace,
        unpacked(path, Path(workspace)) as folder,
    ):
        yield folder


@contextmanager
def _workspace(labels: str | None) -> Iterator[Path]:
    """A folder for the landmarks of `labels`. Errors about what lies in it name the file of labels."""
    with tempfile.TemporaryDirectory() as workspace, called(Path(workspace), f"{labels}: "):
        yield Path(workspace)


def _shapes(location: str | None, photos: Photos, told: Labels | None) -> Labels:
    """The shapes of the file, or the photos' own; the photos' landmarks must be as many.

    told: what a file of labels holds, which has the first say about the landmarks.
    """
    if location is None:
        if not photos.landmarks:
            raise BruleError("no photo has a .pts beside it, so there is no shape; give some with --shapes")
        count = len(next(iter(photos.landmarks.values())))
    else:
        with local(location, key="--shapes") as path:
            labels = read_shapes(path)
        count = labels.points.shape[1]
    for number, points in photos.landmarks.items():
        if len(points) != count:
            others = f"the shapes have {count}" if location else f"others have {count}"
            raise BruleError(
                f"{photos.found[number].points}: has {counted(len(points), 'landmark')} but {others}; make them agree"
            )
    if location is None:
        return Labels(np.stack(list(photos.landmarks.values())), told.scheme if told else None)
    return agree(told, labels)[1] if told else labels


def _record(found: Found) -> Record:
    points = str(found.points.absolute()) if found.points else None
    return Record(found.name, points, found.group, None, False, None)


def _crops(folder: Path, photos: Photos, settings: Config, measured_first: bool) -> list[Crop]:
    """As `prepare` will frame and split them."""
    records = [_record(each) for each in photos.found]
    spare = measured_first and settings.train.mode == "unsupervised"
    return framed(folder, records, settings.prepare, settings.seed, (), measure_first=spare)


def _training(crops: list[Crop]) -> list[Crop]:
    return [crop for crop in crops if crop.split == "train"]


def _splits(location: str, crops: list[Crop]) -> dict[str, int]:
    """The crops in every split; raise BruleError if one is empty."""
    splits: dict[str, int] = {split: sum(crop.split == split for crop in crops) for split in SPLITS}
    if not all(splits.values()):
        held = f"{counted(len(crops), 'photo')}, too few for one in each of {', '.join(SPLITS)}"
        raise BruleError(f"{location}: holds {held}; give more photos")
    return splits


def _modes(crops: list[Crop], shapes: int, settings: Config) -> tuple[int, int]:
    """As `Proposal.modes`."""
    wanted = max((stage.modes or 0 for stage in settings.stages.values() if stage.iterations), default=0)
    placed = any(crop.square for crop in _training(crops))
    return min(wanted, shapes // SHAPES_PER_MODE) if placed else 0, wanted


def _overrides(
    location: str, shapes: str | None, labels: str | None, prior: Labels, stands: Frame, base: Mapping[str, Any]
) -> dict[str, Any]:
    """What differs from params.yaml, which is `base`."""
    data: dict[str, Any] = {"source": "folder", "location": _lasting(location)}
    data |= {"shapes": _lasting(shapes)} if shapes else {}
    data |= {"labels": _lasting(labels)} if labels else {}
    if prior.scheme and prior.scheme.normaliser:
        data["normaliser"] = list(prior.scheme.normaliser)
    prepare = {"crop_fill": stands.fill, "crop_lift": stands.lift}
    return {"data": data, "prepare": {key: value for key, value in prepare.items() if value != base["prepare"][key]}}


def _without_gan(stages: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"iterations": 0} for name, stage in stages.items() if stage.get("gan_every")}


def _lasting(location: str) -> str:
    """A place that means the same from anywhere: a URL as it is, a path absolute."""
    return location if "://" in location else str(Path(location).expanduser().resolve())


def _some(crops: list[Crop], count: int, seed: int) -> list[Crop]:
    order = np.random.default_rng(seed).permutation(len(crops))[:count]
    return [crops[k] for k in sorted(order)]


def _cut(folder: Path, crops: list[Crop], size: int) -> npt.NDArray[np.uint8]:
    return np.stack([cut_file(folder / crop.record.image, crop.square, size) for crop in crops])


def _barycenter(shapes: Points, settings: Config, flip: tuple[int, ...] | None) -> npt.NDArray[np.float32]:
    """X_b as training has it, from some of the shapes; with a mirror, the mean of it and its mirror image."""
    some = shapes[np.random.default_rng(settings.seed).permutation(len(shapes))[:MOST]]
    X_b = transport.barycenter(some, iterations=settings.barycenter.iterations)
    if flip is not None:
        X_b = (X_b + mirror_all(X_b[None], torch.tensor(flip))[0]) / 2
    return X_b.numpy().astype(np.float32)


def _seconds(
    folder: Path,
    crops: list[Crop],
    shapes: Points,
    X_b: npt.NDArray[np.float32],
    scheme: Scheme,
    settings: Config,
    validated: int,
) -> float:
    some = _some(_training(crops), TRIED, settings.seed)
    images = _cut(folder, some, settings.prepare.image_size)
    framed = [crop.square is not None for crop in some]
    seen = Crops(images, None, pd.DataFrame({"framed": framed, "labelled": False}))
    inputs = Inputs(seen, seen, seen, scheme, X_b, shapes.astype(np.float32))
    return forecast.seconds(settings, inputs, machine.device(settings.machine.device), validated)


def _draw(proposal: Proposal, crops: npt.NDArray[np.uint8], X_b: npt.NDArray[np.float32], path: Path) -> None:
    """The sheet: X_b on each of the crops."""
    scheme = proposal.scheme
    heading = f"{proposal.name}: {len(scheme.names)} landmarks, the mean shape X_b as training will place it at first"
    wide = f"X_b takes up {np.ptp(X_b[:, 0]):.2f} of a crop's width"
    note = f"prepare.crop_fill is {proposal.frame.fill:g}; {wide}. The numbers of the landmarks count from 0."
    contact.sheet(crops, np.repeat(X_b[None], len(crops), 0), scheme, path, heading, note)


def _text(proposal: Proposal, overrides: Mapping[str, Any], gan: bool, fine: bool) -> str:
    """The experiment: its title in the first line, where crop_fill comes from, and the values that differ."""
    photos, frame = len(proposal.photos.found), proposal.frame
    origin = f"measured on {frame.measured} photos" if frame.measured else "not measured: see the sheet"
    title = f"{len(proposal.scheme.names)} landmarks on {photos} photos, {len(proposal.shapes.points)} shapes"
    lines = [f"{proposal.name}: {title}"]
    lines += [f"Written by `brule new`; all else is as in params.yaml. crop_fill was {origin}"]
    lines += ["The finer model, as in experiments/fine.yaml"] if fine else []
    lines += [] if gan else ["The GAN is left out: it draws images, and the detector is no better for it"]
    return "".join(f"# {line}\n" for line in lines) + experiments.text(overrides)
