"""The whole picture: scene, head, features, props, camera."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from brule.synthetic.backdrop import behind
from brule.synthetic.face import Face
from brule.synthetic.factors import Camera, Factors
from brule.synthetic.features import paint
from brule.synthetic.head import Array
from brule.synthetic.mesh import Single
from brule.synthetic.pose import place, tracked
from brule.synthetic.props import glasses, occluder
from brule.synthetic.sampling import sample
from brule.synthetic.skull import draw_head


@cache
def _grain(side: int) -> NDArray[np.float32]:
    """(side, side, 3): white noise of deviation 1, of which every picture takes its own piece."""
    return np.random.default_rng(2).standard_normal((side, side, 3), dtype=np.float32)


def _curve(camera: Camera) -> NDArray[np.uint8]:
    """256 output levels: exposure, highlights that roll off instead of clipping, gamma, contrast."""
    level = np.arange(256) / 168.0
    level = np.where(level > 0.7, 0.7 + 0.3 * np.tanh((level - 0.7) / 0.45), level)
    return np.rint(255.0 * np.clip(0.5 + camera.contrast * (level**camera.gamma - 0.5), 0.0, 1.0)).astype(np.uint8)


def _expose(rgb: Single, camera: Camera, size: int) -> NDArray[np.uint8]:
    """Tint, tone curve, blur and noise: (3, S, S) in 0…1 → (S, S, 3) bytes."""
    if camera.grey:
        rgb = np.broadcast_to(np.tensordot(np.array([0.30, 0.59, 0.11], np.float32), rgb, 1), rgb.shape)
    scaled = rgb * (np.array(camera.tint, np.float32) * np.float32(182.0))[:, None, None]
    np.maximum(scaled, 0.0, out=scaled)
    np.minimum(scaled, 255.0, out=scaled)
    levels = np.empty((size, size, 3), dtype=np.uint8)
    levels[...] = np.moveaxis(scaled.astype(np.uint8), 0, -1)
    toned = levels.tobytes().translate(_curve(camera).tobytes())
    image = np.frombuffer(toned, dtype=np.uint8).reshape(levels.shape)
    if camera.blur > 0:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(camera.blur * size / 96.0))
        image = np.asarray(blurred)
    x, y = camera.texture % 300, camera.texture // 300 % 300
    noise = _grain(max(640, size + 300))[y : y + size, x : x + size]
    noisy = np.float32(camera.noise) * (noise[..., :1] if camera.grey else noise) + np.float32(0.5) + image
    np.maximum(noisy, 0.0, out=noisy)
    np.minimum(noisy, 255.0, out=noisy)
    return noisy.astype(np.uint8)


def draw(factors: Factors, size: int = 96) -> tuple[NDArray[np.uint8], Array]:
    """The face of these factors: (S, S, 3) RGB and its 68 landmarks (68, 2) in 0-based pixel centres."""
    points = tracked(factors.shape)
    view, marks = place(factors.pose, points, size)
    face = Face(factors, view, points, marks, size)
    head = draw_head(factors, view, size)
    paint(face, head)
    rgb = behind(face)
    rgb += head.cover * (head.rgb - rgb)
    glasses(face, rgb, head)
    occluder(face, rgb)
    return _expose(rgb, factors.camera, size), marks


def render(seed: int, index: int, size: int = 96) -> tuple[NDArray[np.uint8], Array]:
    """Face `index` of the endless set `seed`: (S, S, 3) RGB bytes and (68, 2) float64 pixels.

    The landmarks are exact projections in iBUG order, 0-based, integers at pixel centres; the jaw's are those of the
    visible contour. The same arguments give the same bytes, whatever was rendered before. Errors: ValueError for a
    negative seed or index, or a size under 32.
    """
    if size < 32:
        raise ValueError(f"size = {size}: a rendered face needs at least 32 pixels")
    return draw(sample(seed, index), size)
