"""What every group of parameters has in common, and the kinds of numbers there are.

What the images are and how they deform: `data`, `prepare`, `barycenter`, `warp`, and the networks, `model`.

How the networks learn: `loss` and `train`.

How the coefficients c5–c10 are searched for: `tuning`."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class WrongError(ValueError):
    """What is wrong with one value; its key and the value are put before it."""


class Section(BaseModel):
    """A group of parameters: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is no number, though Python takes it for 1."""
        number = cls.model_fields[info.field_name or ""].annotation in (int, float)
        if number and isinstance(value, bool):
            raise WrongError("should be a number")
        return value


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
    labelled: str | None = None
    """A file of image names, one a line: only their landmarks may be seen with their images. None: all.

    All shapes of the training part are in the unpaired set nonetheless.
    """
    halves: bool = False
    """Images from one half of the training photos, shapes from the other: no image's own shape is in the prior."""


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


class Pyramid(Section):
    """G and D: channels at the image's own size, doubled at every halving, up to the maximum."""

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
    generator: Pyramid = Pyramid()
    discriminator: Pyramid = Pyramid()
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
    cycle: Weight = 0.0
    """As H(L(I_F) ‖ L), on images that G makes of unpaired shapes, in the form of R_g."""
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
    modes: Count = 0
    """Leading modes of the shape set inside which the teacher's points are transported onto it (`train.calibrate`)."""
    keep: Fraction = 1.0
    """With modes: the share that stays of what lies outside them."""
    view: str | None = None
    """The teacher looks at the image through a random g of this family, a key of `warp`, and its points are carried
    back. None: at the image itself, whose errors it then repeats at every turn."""
    regularise: bool = True
    """R_b and H(L ‖ L_sp) of the un-warped image, beside R_g."""
    warp: str = "paper"
    """Name of the family of g, a key of `warp`."""


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise WrongError("is no device; use auto, cpu or cuda")
    return name


class Train(Section):
    """The optimisation."""

    mode: Literal["unsupervised", "semi-supervised", "supervised"] = "unsupervised"
    initial: str | None = None
    """A detector.safetensors whose weights the encoder starts from. None: random ones."""
    batch_size: Positive = 16
    """Of Algorithm 2."""
    unlabelled: Count = 0
    """Semi-supervised: so many images without landmarks join a batch of Algorithm 2, for R_g."""
    gan_batch_size: Positive = 16
    """Of Algorithm 1."""
    stages: dict[str, Stage]
    gan_warp: str = "paper"
    """The family of g in Algorithm 1."""
    adversarial_every: Positive = 1
    """D plays at every so many iterations of Algorithm 1; at the others G only restores images."""
    r1_every: Positive = 4
    """The penalty is added at every so many of D's turns."""
    restore_every: Positive = 5
    """Images are restored at every so many iterations of Algorithm 1."""
    ramp: Count = 300
    """Iterations over which c8, c9, c10 rise from 0 once the GAN runs."""
    calibrate: bool = True
    """Tie the running mean of the teacher's points over the data set to X_b; without it `modes` do nothing."""
    mirror: bool = False
    """The teacher answers with the mean over an image and its mirror image, where `flip` is on and has an effect."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay of E's moving average: the teacher, and the detector that ships."""
    generator_ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay of G's."""
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
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the convolutions; auto: measured at the start."""
    device: Annotated[str, AfterValidator(_device)] = "auto"
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


Coefficient = Literal["c5", "c6", "c7", "c8", "c9", "c10"]


class Tuning(Section):
    """The random-direction golden-section search (section 2), within a run or from a trained one (`make tune`)."""

    online: bool = False
    """Search in the course of `train`: in its stage `tuning.stage`, so many iterations each are a trial."""
    stage: str = "joint"
    """The stage whose iterations a trial makes."""
    coefficients: Annotated[tuple[Coefficient, ...], Field(min_length=1)] = ("c5", "c6", "c7", "c8", "c9", "c10")
    """Those searched for; one whose value in `loss` is 0 is left out, since it has no logarithm."""
    iterations: Positive = 60
    """Of training: one trial."""
    trials: Positive = 40
    """Of `make tune`; online, as many as fit into the stage."""
    continues: Annotated[Literal["origin", "latest"], Field(alias="continue")] = "origin"
    """What a trial trains on from: the state at its line's start, or what the trial before it left (the paper's)."""
    range: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 100.0
    """c is searched for in [c / range, c · range], from the c of `loss`."""
    step: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Length of the longest line, in widths of the range of one coefficient, in logarithms."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A line ends when its bracket is shorter than this share of it."""
    directions: Positive = 5
    """So many are tried before a line goes on along the best of them."""
