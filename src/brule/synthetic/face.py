"""One face about to be drawn: its points in the picture, its light, and fine canvases to draw on."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from brule.synthetic.factors import Factors
from brule.synthetic.head import Array
from brule.synthetic.mesh import Single, track
from brule.synthetic.pose import View, rotation
from brule.synthetic.shading import irradiance

FINE = 3
"""Supersampling of everything drawn with lines and polygons."""
EYEBALL = 12.5
"""Radius, mm."""

Ink = int | tuple[int, int, int]


def bytes_of(colour: Array | Single) -> tuple[int, int, int]:
    """0…1 → 0…255, clipped."""
    r, g, b = (min(max(int(255.0 * v), 0), 255) for v in colour)
    return r, g, b


@dataclass(frozen=True)
class Sheet:
    """A window of the picture (whole pixels, right and bottom exclusive) on which one draws FINE times larger."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def canvas(self, mode: str = "L") -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """An empty fine canvas and its pen."""
        image = Image.new(mode, ((self.right - self.left) * FINE, (self.bottom - self.top) * FINE))
        return image, ImageDraw.Draw(image)

    def flat(self, points: Array) -> list[float]:
        """(N, 2) pixels → PIL's coordinates on the fine canvas."""
        return ((points - (self.left - 0.5, self.top - 0.5)) * FINE - 0.5).ravel().tolist()

    def disc(self, pen: ImageDraw.ImageDraw, centre: Array, rx: float, ry: float, fill: Ink) -> None:
        """A filled upright ellipse, radii in pixels."""
        x = (float(centre[0]) - self.left + 0.5) * FINE - 0.5
        y = (float(centre[1]) - self.top + 0.5) * FINE - 0.5
        pen.ellipse((x - rx * FINE, y - ry * FINE, x + rx * FINE, y + ry * FINE), fill=fill)

    def coarse(self, canvas: Image.Image) -> Single:
        """The fine canvas averaged to the window's pixels, in 0…1: (h, w) or (3, h, w)."""
        small = canvas.reduce(FINE)
        levels = np.frombuffer(small.tobytes(), dtype=np.uint8).reshape(small.height, small.width, -1)
        array = np.ascontiguousarray(levels.transpose(2, 0, 1)) * np.float32(1 / 255)
        return array[0] if len(array) == 1 else array

    def mesh(self) -> tuple[Single, Single]:
        """x (1, w) and y (h, 1) of the window's pixels."""
        x = np.arange(self.left, self.right, dtype=np.float32)[None]
        return x, np.arange(self.top, self.bottom, dtype=np.float32)[:, None]


class Face:
    """Projected points (pixels; `named` with depth), colours under this light, canvases; unit: pixels a millimetre."""

    def __init__(self, factors: Factors, view: View, points: Array, marks: Array, size: int) -> None:
        seen, parts = view(points.T).T, track().slices
        self.factors, self.view, self.size, self.marks = factors, view, size, marks
        self.unit = float(view.scale)
        self.down = view.turn[:2, 1]
        self.named = {name: seen[part] for name, part in parts.items()}
        self.eyeballs = points[parts["eyeballs"]]
        normal = view.turn @ np.array([[0.0], [-0.1], [1.0]])
        self.light = irradiance(normal.astype(np.float32), factors.light)[:, 0]
        self.whole = Sheet(0, 0, size, size)
        inner, margin = marks[17:], 7.0 * self.unit  # brows, eyes, nose and mouth, with the brows' thickness
        low = np.floor(np.clip(inner.min(axis=0) - margin, 0, size - 8)).astype(int)
        high = np.ceil(np.clip(inner.max(axis=0) + margin, low + 8, size)).astype(int)
        self.sheet = Sheet(int(low[0]), int(low[1]), int(high[0]), int(high[1]))

    @property
    def pupils(self) -> Array:
        """(2, 2): where the optical axes leave the eyeballs, in pixels; the gaze of a turned head lags behind it."""
        across, down = self.factors.eyes.gaze
        pose = self.factors.pose
        axis = rotation(across - 0.35 * pose.yaw, down - 0.35 * pose.pitch, 0.0) @ np.array([0.0, 0.0, EYEBALL])
        return np.asarray(self.view((self.eyeballs + axis).T)[:2].T, dtype=np.float64)

    def width(self, millimetres: float) -> int:
        """A line's width on a fine canvas, at least 1."""
        return max(1, round(millimetres * self.unit * FINE))
