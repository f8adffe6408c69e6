"""How good the GAN's images are: do they show the landmarks asked for, whatever the style, does the style change the
rest, and do they look like the training images?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.maths import frechet, metrics
from brule.stages.scores import Floats, Images, evenly

UNLIKENED: dict[str, Any] = {"frechet": None, "frechet_floor": None, "frechet_images": 0}
"""What `likeness` finds where no GAN was trained, or where there are fewer than four training images."""
UNMEASURED_SAMPLES: dict[str, Any] = {
    **dict.fromkeys(("nme", "nme_floor", "drift", "diversity")),
    "shapes": 0,
    **UNLIKENED,
}
"""The scores where no GAN was trained, or where there are fewer than two shapes."""
_AT_MOST = 500


def requested_shapes(truth: Floats | None, unpaired: npt.NDArray[Any]) -> Floats:
    """The shapes (N, K, 2) to request from G, at most 500: those of validation, or the unpaired ones if it has none."""
    some: Floats = evenly(unpaired if truth is None else truth, _AT_MOST).astype(np.float64)
    return some


def measure_samples(gan: Gan, detector: Detector, shapes: Floats, real: Images, batch: int = 64) -> dict[str, Any]:
    """The scores of G(shape, z₁) and G(shape, z₂) over shapes (N, K, 2), with truncated styles of fixed noise.

    nme: of the detector's points on an image, against the shape requested. nme_floor: the same against the shape of
    another image, which is what G would score if it ignored its condition. drift: the mean distance between the points
    on G(shape, z₁) and those on G(shape, z₂), over the shape's normaliser. All three are in percent. diversity: the
    mean ‖G(shape, z₁) − G(shape, z₂)‖₁ over that of two random images of real (M, S, S, 3); it is 1 if z changes an
    image as much as another object would, and None if fewer than two real images differ.
    """
    if not gan.iterations or len(shapes) < 2:
        return dict(UNMEASURED_SAMPLES)
    drawn = [gan.images(shapes, styles, batch) for styles in gan.styles(2 * len(shapes)).chunk(2)]
    found = [detector.points(images, batch) for images in drawn]
    scale, other = metrics.normaliser(shapes, detector.scheme.normaliser), shapes[another(len(shapes))]
    other_scale = metrics.normaliser(other, detector.scheme.normaliser)
    crops = evenly(real, _AT_MOST)
    typical = _distance(crops, crops[another(len(crops))]) if len(crops) > 1 else 0.0
    return {
        "nme": float(np.mean([metrics.nme(points, shapes, scale) for points in found])),
        "nme_floor": float(np.mean([metrics.nme(points, other, other_scale) for points in found])),
        "drift": float(metrics.nme(found[0], found[1], scale).mean()),
        "diversity": _distance(*drawn) / typical if typical else None,
        "shapes": len(shapes),
    }


def likeness(gan: Gan, unpaired: npt.NDArray[Any], real: Images, batch: int = 64) -> dict[str, Any]:
    """How far G's images are from the training images real (M, S, S, 3), by `maths.frechet`.

    frechet: the Fréchet distance d² between G(shape, z) and one random half of the real images, at most 500 of each,
    for shapes spread over the unpaired ones (N, K, 2), with styles of fixed noise that are not truncated, since
    truncation would hide how various they are. frechet_floor: that between the two halves. frechet_images: how many
    images each of the three sets has, since d² depends on it. The features are standardised over both halves.
    """
    some = evenly(real, 2 * _AT_MOST)
    half = len(some) // 2
    if not gan.iterations or half < 2 or not len(unpaired):
        return UNLIKENED
    seen = frechet.features(some[np.random.default_rng(0).permutation(len(some))])
    shapes = unpaired[np.linspace(0, len(unpaired) - 1, half).round().astype(int)]  # again and again if they are few
    drawn = frechet.features(gan.images(shapes, gan.styles(half, truncation=1.0), batch))
    one, two, fake = frechet.standardised(seen, seen[:half], seen[half : 2 * half], drawn)
    return {
        "frechet": frechet.distance(fake, one),
        "frechet_floor": frechet.distance(two, one),
        "frechet_images": half,
    }


def sample_rows(gan: Gan, shapes: Floats, columns: int, styles: int = 4) -> tuple[dict[str, Images], Floats]:
    """({label: images (N, S, S, 3)}, shapes (N, K, 2)) for a grid of at most `columns` shapes.

    The first row is blank, to draw the shapes on; then G(shape, z) follows, with one z in each row.
    """
    some = evenly(shapes, columns)
    ground = np.full((len(some), gan.image_size, gan.image_size, 3), 244, np.uint8)
    rows = {f"z{k + 1}": gan.images(some, style.expand(len(some), -1)) for k, style in enumerate(gan.styles(styles))}
    return {"shape": ground, **rows}, some


def another(count: int) -> npt.NDArray[np.intp]:
    """(count,): a random other index for each of two or more, every index once, and the same on every call."""
    order = np.random.default_rng(0).permutation(count)
    others = np.empty(count, np.intp)
    others[order] = np.roll(order, 1)
    return others


def _distance(one: Images, two: Images) -> float:
    """Mean ‖a − b‖₁ of images (N, S, S, 3), per pixel and channel, where the values are in [−1, 1]."""
    return float(np.mean([np.abs(a.astype(np.float32) - b).mean() for a, b in zip(one, two, strict=True)])) / 127.5
