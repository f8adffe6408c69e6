"""Small photos whose pixels say where they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brule.data.pts import format_pts


def gradient(width: int, height: int, blue: int = 0) -> np.ndarray:
    """Red grows by 2 a column, green by 2 a row: a pixel says where it was."""
    pixels = np.full((height, width, 3), blue, dtype=np.uint8)
    pixels[..., 0] = np.minimum(2 * np.arange(width), 255)[None, :]
    pixels[..., 1] = np.minimum(2 * np.arange(height), 255)[:, None]
    return pixels


def square_of_points(x: float, y: float, side: float) -> np.ndarray:
    """Four corners and the middle: K = 5."""
    half = side / 2
    return np.array([[x - half, y - half], [x + half, y - half], [x, y], [x - half, y + half], [x + half, y + half]])


@pytest.fixture
def photo() -> Callable[..., Path]:
    """photo(path, points=None, blue=0): an image of 100 by 80, with a .pts where points are given."""

    def make(path: Path, points: np.ndarray | None = None, blue: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gradient(100, 80, blue)).save(path)
        if points is not None:
            path.with_suffix(".pts").write_text(format_pts(points))
        return path

    return make


@pytest.fixture
def people(tmp_path: Path, photo: Callable[..., Path]) -> Path:
    """A user's folder of 20 photos, all different, each with 5 landmarks of its own."""
    rng = np.random.default_rng(0)
    for number in range(20):
        points = square_of_points(50, 40, 30) + rng.normal(0, 2, (5, 2))
        photo(tmp_path / "people" / f"face_{number}.png", points, blue=number)
    return tmp_path / "people"
