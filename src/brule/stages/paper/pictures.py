"""Fig. 4, 5 and 7: what the trained networks make of test images, easy and hard ones alike."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from brule.data import prepared
from brule.data.layouts import Split
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.figures.grids import Errors, restyled
from brule.figures.shapes import ring
from brule.maths import heatmaps
from brule.stages import wording
from brule.stages.paper import Request
from brule.stages.scores import Measurements, measure

_COLUMNS, _AROUND = 8, 8
_SIGMA = 1.0


class _Chosen(NamedTuple):
    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float32]
    errors: Errors


def fig4(request: Request) -> list[str]:
    """Two rows of images with the landmarks found on them; below, images that G makes of the second row's landmarks."""
    detector, split = _answers(request)
    gan = _gan(request.gan, detector)
    every = _spread(split, 2 * min(_COLUMNS, max(1, len(split.images) // 2)))
    rows = [_take(split, every[start::2]) for start in (0, 1)]
    drawn = gan.images(rows[1].points, gan.styles(len(rows[1].points)))
    note = f"{_ranked(split)}. Below: G's images of the landmarks right above them, each in a random style of its own."
    heading = f"Fig. 4 · {_mode(detector)}: landmarks found on {len(every)} of {len(split.images)} test images"
    restyled(rows, drawn, request.out, detector.scheme, heading, note)
    return []


def fig5(request: Request) -> list[str]:
    """A row of images with the landmarks found on them; below, G's images of these landmarks, in one given style."""
    detector, split = _answers(request)
    gan = _gan(request.gan, detector)
    if request.style < 0:
        raise BruleError(f"--style {request.style}: styles are counted from 0")
    row = _take(split, _spread(split, min(_COLUMNS, len(split.images))))
    style = gan.styles(request.style + 1)[request.style].expand(len(row.points), -1)
    note = f"{_ranked(split)}. Below: G's images of the same landmarks, all in style {request.style}."
    heading = f"Fig. 5 · {_mode(detector)}: {len(row.images)} of {len(split.images)} test images, redrawn in one style"
    restyled([row], gan.images(row.points, style), request.out, detector.scheme, heading, note)
    return [] if "semi" in wording.mode(detector) else [f"{request.detector} was trained {wording.mode(detector)}"]


def fig7(request: Request) -> list[str]:
    """X_b amid the heatmaps L_sp of eight random test images."""
    detector, test = Detector.load(request.detector), _images("test")
    if len(test.images) < _AROUND:
        raise BruleError(f"{prepared.CROPS}/test: has {len(test.images)} images, but Fig. 7 shows {_AROUND}; add some")
    some = np.sort(np.random.default_rng(0).choice(len(test.images), _AROUND, replace=False))
    images = test.images[some]
    points = np.concatenate([detector.barycenter[None], detector.points(images)])
    maps = heatmaps.sparse(torch.tensor(points), detector.map_size, _SIGMA).numpy()
    heading = f"Fig. 7 · The barycenter amid the landmarks of {_AROUND} random test images"
    note = f"Each landmark as a Gaussian of σ = {_SIGMA:.0f} pixel of the {detector.map_size} × {detector.map_size} map"
    ring(maps[0], maps[1:], images, request.out, detector.scheme, heading, f"{note}: L_sp of what the detector finds.")
    return []


def _answers(request: Request) -> tuple[Detector, Measurements]:
    detector, test = Detector.load(request.detector), _images("test")
    return detector, measure(detector, test, detector.barycenter.astype(np.float64))


def _images(split: Split) -> prepared.Crops:
    found = prepared.load(prepared.CROPS, split, labels=True)
    if not len(found.images):
        raise BruleError(f"{prepared.CROPS}/{split}: has no images; set prepare.test above 0 and run dvc repro")
    return found


def _gan(path: Path, detector: Detector) -> Gan:
    gan = Gan.load(path, detector=(len(detector.scheme.names), detector.image_size))
    if not gan.iterations:
        raise BruleError(f"{path}: this GAN was never trained; set gan_every in one of the stages, as in joint")
    return gan


def _spread(split: Measurements, count: int) -> npt.NDArray[np.intp]:
    """Indices evenly spread over the ranking by error, from best to worst; over the split if no error is known."""
    errors = split.errors.get("detector")
    order = np.arange(len(split.images)) if errors is None else np.argsort(errors, kind="stable")
    chosen: npt.NDArray[np.intp] = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
    return chosen


def _take(split: Measurements, some: npt.NDArray[np.intp]) -> _Chosen:
    errors = split.errors.get("detector")
    return _Chosen(split.images[some], split.points[some], None if errors is None else errors[some])


def _ranked(split: Measurements) -> str:
    if not split.errors:
        return "Evenly spread over the split, which has no landmarks to measure against"
    mean = split.errors["detector"].mean()
    return f"Evenly spread from the best to the worst by NME, in %; the mean of all is {mean:.2f} %"


def _mode(detector: Detector) -> str:
    return f"{wording.mode(detector).capitalize()} training"
