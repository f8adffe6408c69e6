"""params.yaml → frozen typed sections, checked once at the rim and passed inward as objects."""

import difflib
import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from brule.errors import BruleError

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A group of parameters: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Extra(Section):
    """Further images without landmarks, for training only."""

    source: Literal["300w", "celeba", "folder"] | None = None
    location: str | None = None
    sha256: str | None = None
    use: Literal["join", "instead"] = "join"
    """Beside the training images of `data.source`, or instead of them."""


class Synthetic(Section):
    """How many faces the renderer draws, and their side in pixels."""

    train: Positive = 3000
    validation: Positive = 300
    test: Positive = 500
    size: Positive = 96


class Data(Section):
    """Where images and landmark shapes come from."""

    source: Literal["synthetic", "300w", "celeba", "folder"] = "synthetic"
    location: str | None = None
    """URL (http, https, file), archive (zip, tar) or folder. `synthetic` needs none."""
    sha256: str | None = None
    """Expected digest of a downloaded archive; checked where given."""
    shapes: str | None = None
    """Unpaired landmark shapes: a .pts folder, a CSV or a JSON. None: the training part's own landmarks, unpaired."""
    normaliser: tuple[Count, Count] | None = None
    """The two landmarks whose distance divides the NME. None: the scheme's own (iBUG: outer eye corners 36, 45),
    and the diagonal of the landmark box where there is no scheme."""
    extra: Extra = Extra()
    synthetic: Synthetic = Synthetic()

    @model_validator(mode="after")
    def _located(self) -> Self:
        if self.source != "synthetic" and not self.location:
            raise ValueError(
                f"data.location is empty but data.source is {self.source!r}; "
                "set data.location to a folder, an archive or a URL"
            )
        if self.extra.source and not self.extra.location:
            raise ValueError(
                "data.extra.location is empty but data.extra.source is set; set it to a folder, an archive or a URL"
            )
        return self


class Prepare(Section):
    """The crop, and the split."""

    image_size: Literal[64, 128, 256] = 64
    crop_fill: Annotated[float, Field(gt=0.1, le=1)] = 0.737
    """Width of the landmark box over the width of the square crop (DVE's protocol: 52/70.6)."""
    crop_lift: float = 0.0385
    """The crop's centre is moved up by this share of the box's width (2/52)."""
    validation: Fraction = 0.1
    """Share of the training part held out, by photo group, where the source has no split of its own."""
    test: Fraction = 0.15
    """The same for the test part."""
    limit: Positive | None = None
    """Keep at most so many images of each split."""


class Barycenter(Section):
    """X_b: the free-support Wasserstein barycenter of the unpaired shapes."""

    iterations: Positive = 20
    shapes: Positive | None = None
    """Use at most so many shapes."""


class Family(Section):
    """A family of random deformations g. A fresh g is drawn for every image."""

    rotation: Weight = 15.0
    """Degrees, uniform in ±rotation."""
    shift: Weight = 0.06
    """Share of the width, uniform in ±shift."""
    scale: Weight = 0.10
    """log-uniform in [1/(1 + scale), 1 + scale]."""
    elastic: Weight = 0.009
    """Standard deviation of the elastic displacement, share of the width."""
    correlation: Rate = 0.04
    """Its correlation length, share of the width."""
    amplitude: Weight = 0.0
    """Thin-plate warp of the landmarks towards an unpaired shape: the deviation is scaled by amplitude·√U. 0: none."""


class Encoder(Section):
    """E: stacked hourglass."""

    stacks: Annotated[int, Field(ge=1, le=4)] = 1
    width: Positive = 48
    depth: Annotated[int, Field(ge=1, le=6)] = 3


class Generator(Section):
    """G: channels at the image's own size, doubled at every halving, up to the maximum."""

    width: Positive = 24
    max_width: Positive = 96


class Discriminator(Section):
    """D: channels, as in the generator."""

    width: Positive = 24
    max_width: Positive = 96


class Style(Section):
    """S and S_o."""

    size: Positive = 64
    width: Positive = 24
    latent: Positive = 64
    depth: Positive = 4
    mixing: Fraction = 0.9
    """Probability that a fake mixes two styles (StyleGAN2's style mixing)."""


class Model(Section):
    """The five networks."""

    map_size: Literal[8, 16, 32, 64, 128, 256] = 32
    condition: Literal["sparse", "raw"] = "sparse"
    """What G and D see of L: L_sp rendered with peak 1, or L itself (for the ablation)."""
    condition_sigma: Rate = 1.5
    """Width of the rendered condition, in heatmap pixels."""
    encoder: Encoder = Encoder()
    generator: Generator = Generator()
    discriminator: Discriminator = Discriminator()
    style: Style = Style()


class Tolerances(Section):
    """Hinges of R_b's three terms: what a true face needs is not penalised (unit square, squared)."""

    translation: Weight = 3e-3
    affine: Weight = 6e-4
    warp: Weight = 2e-3


class Loss(Section):
    """The paper's coefficients in the paper's units: cross-entropies are multiplied by c/278528 per nat."""

    c1: Weight = 30.0
    c2: Weight = 1e4
    c3: Weight = 30.0
    lambda_: Annotated[Weight, Field(alias="lambda")] = 80.0
    mismatch: Weight = 0.0
    """Matching-aware D: weight of real images with another image's landmarks, counted as fake."""
    c5: Weight = 20.0
    c6: Weight = 20.0
    c6_entropy: Weight = 1e3
    c6_coordinates: Weight = 0.3
    warm: Weight = 20.0
    """Of the warm start, which has the form of R_g with X_b as its target."""
    c7: Weight = 1e5
    c8: Weight = 5.0
    c9: Weight = 10.0
    c10: Weight = 1.0
    c10_entropy: Weight = 500.0
    c11: Weight = 1.0
    c12: Weight = 1.0
    c13: Weight = 1.0
    decorrelation: Weight = 0.0
    supervised: Weight = 20.0
    """Weight of the supervised loss, whose two parts are weighted as those of R_g."""
    coupling: Literal["index", "ot"] = "index"
    alignment: Literal["affine", "similarity"] = "affine"
    ridge: Weight = 1e-3
    detach_affine: bool = False
    tolerances: Tolerances = Tolerances()
    two_sided: bool = True
    """Target `self`: the un-warped view learns from the warped one too, each side stopping the other's gradient."""
    detach_fake: bool = True
    """Stop the gradient of H(L(I_F) ‖ L) at the fake image."""


class Stage(Section):
    """A stretch of training. Stages run in the order in which they are written."""

    iterations: Count
    encoder_every: Count = 1
    """Algorithm 2 at every so many iterations; 0: never."""
    gan_every: Count = 0
    """Algorithm 1 at every so many iterations; 0: never, and no loss that needs G, D or S."""
    learning_rate: Rate = 1e-3
    """The encoder's; 100 iterations of warm-up, then a cosine down to a twentieth."""
    target: Literal["barycenter", "teacher", "self"] = "self"
    """What R_g asks of L(gI): g·X_b (warm start), g·(EMA teacher's points), or g·X_L(I), the paper's."""
    project: bool = False
    """Replace the teacher's points by their best similarity of X_b."""
    regularise: bool = True
    """R_b and H(L ‖ L_sp) of the un-warped image, beside R_g."""
    warp: str = "paper"
    """Name of the family of g, a key of `warp`."""


class Train(Section):
    """The optimisation."""

    mode: Literal["unsupervised", "semi-supervised", "supervised"] = "unsupervised"
    batch_size: Positive = 16
    """Of Algorithm 2."""
    gan_batch_size: Positive = 16
    """Of Algorithm 1."""
    stages: dict[str, Stage]
    gan_warp: str = "paper"
    """The family of g in Algorithm 1."""
    r1_every: Positive = 4
    restore_every: Positive = 5
    ramp: Count = 300
    """Iterations over which c8, c9, c10 rise from 0 once the GAN runs."""
    calibrate: bool = True
    """Shift the teacher's points so that their running mean over the data set is X_b."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    generator_rate: Rate = 1e-3
    discriminator_rate: Rate = 1.5e-3
    style_rate: Rate = 5e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """β₁ of the optimisers of G and S. StyleGAN2 has 0; a run of minutes learns to restore images quicker with 0.5."""
    weight_decay: Weight = 1e-4
    clip: Rate = 1.0
    jitter: Weight = 0.4
    """Strength of the photometric jitter on the warped view; 0: none."""
    cutout: Fraction = 0.3
    """Probability that a rectangle of the warped view is blanked."""
    flip: bool = True
    """Mirror images at random where the landmark scheme says which landmarks swap."""
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads; 0: measured at the start."""
    log_every: Positive = 20
    validate_every: Positive = 200
    sample_every: Positive = 400
    save_every: Positive = 100

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if not any(stage.iterations for stage in self.stages.values()):
            raise ValueError("train.stages has no iterations at all; give at least one stage some")
        return self


class Evaluate(Section):
    """What `evaluate` draws."""

    batch_size: Positive = 64
    overlays: Positive = 8


class Tracking(Section):
    """MLflow."""

    experiment: str = "brule"


class Config(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: Data = Data()
    prepare: Prepare = Prepare()
    barycenter: Barycenter = Barycenter()
    model: Model = Model()
    warp: dict[str, Family]
    loss: Loss = Loss()
    train: Train
    evaluate: Evaluate = Evaluate()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prepare.image_size % self.model.map_size or self.model.map_size > self.prepare.image_size:
            raise ValueError(
                f"model.map_size {self.model.map_size} must divide prepare.image_size {self.prepare.image_size}"
            )
        named = {"train.gan_warp": self.train.gan_warp}
        named |= {f"train.stages.{name}.warp": stage.warp for name, stage in self.train.stages.items()}
        for key, family in named.items():
            if family not in self.warp:
                raise ValueError(f"{key} names the family {family!r}, but `warp` has only {', '.join(self.warp)}")
        return self


def read(path: Path | str) -> Config:
    """Read and check a parameter file (YAML 1.2: `1e5` is a number). Raises BruleError naming file, key and mend."""
    try:
        raw = YAML(typ="safe").load(Path(path))
    except FileNotFoundError:
        raise BruleError(f"{path} does not exist; run this from the project's root") from None
    except YAMLError as error:
        raise BruleError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return parse(raw, str(path))


def parse(raw: object, origin: str = "parameters") -> Config:
    """Check a nested mapping of parameters. Raises BruleError naming the first wrong key."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise BruleError(f"{origin}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, list(_keys(Config)), n=1, cutoff=0.6)
        return f"{key} is not a parameter" + (
            f"; did you mean {close[0]}?" if close else "; see params.yaml for those there are"
        )
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "missing":
        return f"{key} is missing; params.yaml as committed shows its default"
    return f"{key} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _keys(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{key}.")


def flatten(section: BaseModel) -> dict[str, Any]:
    """{'loss.c7': 1e5, …}: every parameter under its dotted name, as DVC and MLflow show it."""
    flat: dict[str, Any] = {}

    def visit(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                visit(inner, f"{key}.{name}" if key else str(name))
        else:
            flat[key] = value

    visit(section.model_dump(mode="json", by_alias=True), "")
    return flat


def fingerprint(config: Config, sections: Collection[str], files: Iterable[Path]) -> str:
    """16 hexadecimal digits that change whenever a parameter of these sections, the order of the stages or a byte of
    these files does."""
    chosen = {key: value for key, value in flatten(config).items() if key.partition(".")[0] in sections}
    digest = hashlib.sha256(json.dumps(chosen).encode())
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
