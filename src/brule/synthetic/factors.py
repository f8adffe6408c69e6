"""What varies from face to face: everything that determines a picture, in independent groups."""

from dataclasses import dataclass

from brule.synthetic.head import Array

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """Coefficients of modes.IDENTITY and modes.EXPRESSION."""

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
