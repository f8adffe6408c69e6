"""How good G's images are: do they show the landmarks asked for, whatever z, and does z change the rest?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from brule.detector import Detector
from brule.gan import Gan
from brule.maths import metrics

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]

UNMEASURED: dict[str, Any] = {**dict.fromkeys(("nme", "nme_floor", "drift", "diversity")), "shapes": 0}
"""The scores where no GAN was trained, or there are not two shapes to tell apart."""
_AT_MOST = 500


def held_out(truth: Floats | None, unpaired: npt.NDArray[Any]) -> Floats:
    """The true shapes (N, K, 2) to ask G for, at most 500: those of validation, or the unpaired ones without any."""
    some: Floats = spread(unpaired if truth is None else truth, _AT_MOST).astype(np.float64)
    return some


def measure(gan: Gan, detector: Detector, shapes: Floats, real: Images, batch: int = 64) -> dict[str, Any]:
    """The scores of G(shape, z₁) and G(shape, z₂), truncated styles of fixed noise, over shapes (N, K, 2).

    nme: of the detector's points on an image, against the shape asked for. nme_floor: against the shape of another
    image, which is what G would score if it ignored its condition. drift: mean distance of the points on G(shape, z₁)
    from those on G(shape, z₂), over the shape's normaliser; all three in percent. diversity: mean
    ‖G(shape, z₁) − G(shape, z₂)‖₁ over that of two random images of real (M, S, S, 3); 1: z changes as much as another
    face would.
    """
    if not gan.iterations or len(shapes) < 2:
        return UNMEASURED
    drawn = [gan.images(shapes, styles, batch) for styles in gan.styles(2 * len(shapes)).chunk(2)]
    found = [detector.points(images, batch) for images in drawn]
    scale, other = metrics.normaliser(shapes, detector.scheme.normaliser), shapes[another(len(shapes))]
    other_scale = metrics.normaliser(other, detector.scheme.normaliser)
    faces = spread(real, _AT_MOST)
    typical = _distance(faces, faces[another(len(faces))]) if len(faces) > 1 else 0.0
    return {
        "nme": float(np.mean([metrics.nme(points, shapes, scale) for points in found])),
        "nme_floor": float(np.mean([metrics.nme(points, other, other_scale) for points in found])),
        "drift": float(metrics.nme(found[0], found[1], scale).mean()),
        "diversity": _distance(*drawn) / typical if typical else None,
        "shapes": len(shapes),
    }


def panel(gan: Gan, shapes: Floats, columns: int, styles: int = 4) -> tuple[dict[str, Images], Floats]:
    """({row's name: images (N, S, S, 3)}, shapes (N, K, 2)): an empty ground, then G(shape, z) with one z a row."""
    some = spread(shapes, columns)
    ground = np.full((len(some), gan.image_size, gan.image_size, 3), 244, np.uint8)
    rows = {f"z{k + 1}": gan.images(some, style.expand(len(some), -1)) for k, style in enumerate(gan.styles(styles))}
    return {"shape": ground, **rows}, some


def spread(rows: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """At most `count` of the rows, evenly spread over all."""
    some: npt.NDArray[Any] = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return some


def another(count: int) -> npt.NDArray[np.intp]:
    """(count,): for each of two or more a random other one, and each is the other of just one; always the same."""
    order = np.random.default_rng(0).permutation(count)
    others = np.empty(count, np.intp)
    others[order] = np.roll(order, 1)
    return others


def _distance(one: Images, two: Images) -> float:
    """Mean ‖a − b‖₁ of images (N, S, S, 3), per pixel and channel, in the unit of [−1, 1]."""
    return float(np.mean([np.abs(a.astype(np.float32) - b).mean() for a, b in zip(one, two, strict=True)])) / 127.5
