"""What varies from face to face, in independent groups, and how each group is drawn from (seed, index).

Every group has its own stretch of the random stream, so one group's draws never shift another's, and no face depends on
another.
"""

from dataclasses import dataclass

import numpy as np

from brule.synthetic.head import EXPRESSION, IDENTITY, Array

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """Coefficients of head.IDENTITY and head.EXPRESSION."""

    identity: Array
    expression: Array


@dataclass(frozen=True)
class Pose:
    """Degrees; fill: the landmark box's share of the image width; shift: of the free margin, −1…1; distance in mm."""

    yaw: float
    pitch: float
    roll: float
    fill: float
    shift: tuple[float, float]
    distance: float


@dataclass(frozen=True)
class Light:
    """The key light's direction in degrees (azimuth to the right, elevation upwards), colours, and share of gloss."""

    azimuth: float
    elevation: float
    key: Rgb
    ambient: Rgb
    gloss: float


@dataclass(frozen=True)
class Skin:
    """Colours in 0…1; blush, freckling and age in 0…1; `texture` seeds the blotches."""

    tone: Rgb
    lips: Rgb
    blush: float
    mottle: float
    age: float
    texture: int


@dataclass(frozen=True)
class Eyes:
    """Iris colour, gaze in degrees (right, down), pupil's share of the iris, lid make-up 0…1."""

    iris: Rgb
    gaze: tuple[float, float]
    pupil: float
    liner: float


@dataclass(frozen=True)
class Hair:
    """style: bald, short, receding, bob, long; lengths in mm; beard and moustache 0…1 (stubble below 0.5)."""

    style: str
    colour: Rgb
    volume: float
    line: float
    fringe: float
    parting: float
    curl: float
    beard: float
    moustache: float
    brow: float
    texture: int


@dataclass(frozen=True)
class Props:
    """glasses: none, thin, thick, dark; hat: none, beanie, cap; occluder: none, hand, microphone, blob."""

    glasses: str
    frame: Rgb
    hat: str
    fabric: Rgb
    occluder: str
    place: tuple[float, float]
    texture: int


@dataclass(frozen=True)
class Scene:
    """backdrop: plain, bokeh, room, foliage; its colours; the clothes' colour."""

    backdrop: str
    colours: tuple[Rgb, Rgb, Rgb]
    clothes: Rgb
    collar: bool
    texture: int


@dataclass(frozen=True)
class Camera:
    """blur in pixels of a 96-pixel image, noise's standard deviation in grey levels; tint multiplies the channels."""

    blur: float
    noise: float
    contrast: float
    gamma: float
    tint: Rgb
    grey: bool
    texture: int


@dataclass(frozen=True)
class Factors:
    """Everything that determines one picture, but its size."""

    shape: Shape
    pose: Pose
    light: Light
    skin: Skin
    eyes: Eyes
    hair: Hair
    props: Props
    scene: Scene
    camera: Camera


def _rgb(values: Array) -> Rgb:
    r, g, b = (min(max(v, 0.0), 1.5) for v in values.tolist())
    return r, g, b


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform: what rng.uniform would draw, in a third of its time."""
    return low + (high - low) * rng.random()


def _bell(rng: np.random.Generator, spread: float, limit: float) -> float:
    return min(max(spread * rng.standard_normal(), -limit), limit)


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One of the names, in proportion to its weight."""
    draw = float(rng.random()) * sum(weights.values())
    for name, weight in weights.items():
        draw -= weight
        if draw < 0:
            return name
    return name


def _row(rng: np.random.Generator, table: Array, cumulative: tuple[float, ...]) -> Array:
    return np.asarray(table[int(np.searchsorted(cumulative, rng.random()))], dtype=np.float64)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _shape(rng: np.random.Generator) -> Shape:
    identity = np.clip(rng.normal(0.0, 1.25, len(IDENTITY)), -2.5, 2.5)
    value = dict.fromkeys(EXPRESSION, 0.0)
    value["mouth_open"] = float(rng.beta(1.2, 2.2)) if rng.random() < 0.45 else 0.08 * float(rng.random())
    value["smile"] = _between(rng, 0.3, 1.3) if rng.random() < 0.55 else _between(rng, -0.25, 0.25)
    value["pucker"] = _between(rng, 0.3, 1.0) if rng.random() < 0.06 else 0.0
    value["smirk"], value["jaw_side"] = _bell(rng, 0.35, 1.0), _bell(rng, 0.3, 1.0)
    value["upper_lip"] = float(rng.beta(1.0, 3.0)) * (1.0 if value["smile"] > 0.2 else 0.4)
    value["brow_raise"], value["brow_knit"] = _bell(rng, 0.6, 1.2), 0.9 * float(rng.beta(1.0, 5.0))
    value["eye_close"] = 0.97 if rng.random() < 0.03 else _between(rng, -0.35, 0.35)
    return Shape(identity, np.array([value[name] for name in EXPRESSION]))


def _pose(rng: np.random.Generator) -> Pose:
    return Pose(
        yaw=_bell(rng, 15.0, 42.0), pitch=_bell(rng, 7.5, 20.0) + 2.0, roll=_bell(rng, 6.0, 25.0),
        fill=_between(rng, 0.42, 0.58), shift=(_between(rng, -1, 1), _between(rng, -1, 1)),
        distance=float(np.exp(_between(rng, np.log(480.0), np.log(2000.0)))),
    )  # fmt: skip


def _light(rng: np.random.Generator) -> Light:
    warmth = rng.normal(0.0, 0.06)
    key = np.array([1.0 + warmth, 1.0, 1.0 - warmth]) * _between(rng, 0.42, 0.85)
    cast = rng.normal(0.0, 0.05)
    ambient = np.array([1.0 - cast, 1.0, 1.0 + cast]) * _between(rng, 0.34, 0.55)
    azimuth, elevation = _between(rng, -75, 75), _between(rng, 5, 65)
    return Light(azimuth, elevation, _rgb(key), _rgb(ambient), float(rng.beta(1.6, 3)))


_TONES = np.array([
    [0.98, 0.83, 0.75], [0.93, 0.74, 0.62], [0.84, 0.63, 0.49],
    [0.68, 0.48, 0.36], [0.51, 0.34, 0.25], [0.40, 0.27, 0.20],
])  # fmt: skip
_HAIRS = np.array([
    [0.07, 0.06, 0.06], [0.15, 0.10, 0.08], [0.28, 0.18, 0.11], [0.44, 0.29, 0.16], [0.74, 0.58, 0.34],
    [0.48, 0.20, 0.09], [0.62, 0.61, 0.60],
])  # fmt: skip
_IRISES = np.array([[0.20, 0.12, 0.07], [0.30, 0.19, 0.10], [0.34, 0.44, 0.55], [0.36, 0.42, 0.28], [0.42, 0.46, 0.48]])


def _skin(rng: np.random.Generator) -> Skin:
    depth = float(rng.beta(1.1, 1.7)) * (len(_TONES) - 1.001)
    low = int(depth)
    tone = _TONES[low] + (depth - low) * (_TONES[low + 1] - _TONES[low]) + rng.normal(0.0, 0.015, 3)
    natural = tone * np.array([0.92, 0.62, 0.62]) + np.array([0.02, 0.0, 0.0])
    paint = np.array([0.72, 0.12, 0.2]) * _between(rng, 0.6, 1.1)
    lips = natural + (paint - natural) * (_between(rng, 0.3, 0.9) if rng.random() < 0.22 else 0.05)
    blush, mottle, age = float(rng.beta(1.5, 2.5)), float(rng.beta(1.2, 3)), float(rng.beta(1, 1.8))
    return Skin(_rgb(tone), _rgb(lips), blush, mottle, age, _seed(rng))


def _eyes(rng: np.random.Generator) -> Eyes:
    iris = _row(rng, _IRISES, (0.5, 0.78, 0.88, 0.95, 1.0)) * _between(rng, 0.8, 1.2)
    gaze = (_bell(rng, 11.0, 24.0), _bell(rng, 5.0, 10.0))
    return Eyes(_rgb(iris), gaze, _between(rng, 0.36, 0.55), float(rng.beta(1, 2.5)))


def _hair(rng: np.random.Generator) -> Hair:
    style = _pick(rng, {"bald": 7, "short": 42, "receding": 9, "bob": 18, "long": 24})
    colour = _row(rng, _HAIRS, (0.24, 0.46, 0.66, 0.79, 0.9, 0.94, 1.0)) * _between(rng, 0.8, 1.25)
    bearded = style in ("bald", "short", "receding") and rng.random() < 0.42
    beard = _between(rng, 0.15, 1.0) if bearded else 0.0
    moustache = _between(rng, 0.3, 1.0) if bearded and rng.random() < 0.75 else 0.0
    fringe = _between(rng, 8.0, 36.0) if style in ("short", "bob", "long") and rng.random() < 0.38 else 0.0
    return Hair(
        style, _rgb(colour + rng.normal(0.0, 0.01, 3)), _between(rng, 4.0, 20.0),
        _between(rng, -78.0, -62.0), fringe, _bell(rng, 0.5, 1.0), float(rng.beta(1, 2)),
        beard, moustache, _between(rng, 0.35, 1.0), _seed(rng),
    )  # fmt: skip


def _props(rng: np.random.Generator) -> Props:
    glasses = _pick(rng, {"none": 76, "thin": 10, "thick": 10, "dark": 4})
    hat = _pick(rng, {"none": 87, "beanie": 6, "cap": 7})
    occluder = _pick(rng, {"none": 86, "hand": 6, "microphone": 5, "blob": 3})
    frame = _between(rng, 0.03, 0.35) * np.array([1.0, 0.9, 0.8])
    fabric = _between(rng, 0.06, 0.7) + rng.uniform(-0.16, 0.16, 3)
    place = (_between(rng, -1, 1), _between(rng, 0, 1))
    return Props(glasses, _rgb(frame), hat, _rgb(np.maximum(fabric, 0.03)), occluder, place, _seed(rng))


def _muted(rng: np.random.Generator) -> Rgb:
    grey = _between(rng, 0.08, 0.92)
    return _rgb(grey + rng.normal(0.0, 0.12, 3) * (1.0 - abs(grey - 0.5)))


def _scene(rng: np.random.Generator) -> Scene:
    backdrop = _pick(rng, {"plain": 32, "bokeh": 30, "room": 26, "foliage": 12})
    return Scene(backdrop, (_muted(rng), _muted(rng), _muted(rng)), _muted(rng), bool(rng.random() < 0.35), _seed(rng))


def _camera(rng: np.random.Generator) -> Camera:
    tint = _rgb(1.0 + rng.normal(0.0, 0.035, 3))
    blur = _between(rng, 0.35, 0.8) if rng.random() < 0.2 else 0.0
    return Camera(
        blur, float(rng.beta(1.0, 3.0)) * 4.0, _between(rng, 0.85, 1.2), float(np.exp(rng.normal(0.0, 0.14))),
        tint, bool(rng.random() < 0.08), _seed(rng),
    )  # fmt: skip


def sample(seed: int, index: int) -> Factors:
    """The factors of face `index` of the set `seed`; both ≥ 0. Neither another index nor a call before matters."""
    makers = (_shape, _pose, _light, _skin, _eyes, _hair, _props, _scene, _camera)
    rng = np.random.Generator(bits := np.random.PCG64(np.random.SeedSequence([seed, index])))
    drawn: list[object] = []
    start = bits.state
    for group, make in enumerate(makers):
        bits.state = start
        bits.advance(group << 64)  # a far stretch of one stream for each group
        drawn.append(make(rng))
    return Factors(*drawn)  # type: ignore[arg-type]
