"""Every parameter of params.yaml: its name, its bounds and what it means.

params.yaml is the only place of defaults, so every key is required. The exceptions are switches, whose type ends in
`| None`: what they switch on is off where they are left out. Most are set by a single experiment.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from brule.errors import brief, quoted
from brule.maths.family import Family


class WrongError(ValueError):
    """What is wrong with one value; its key and the value are put before it."""


def _written(text: str) -> str:
    if len(text) > 4096 or not text.isprintable():
        raise WrongError("should be at most 4096 plain characters on one line")
    return text


def _named(text: str) -> str:
    if not re.fullmatch(r"[\w-]{1,40}", text):
        raise WrongError("is not a name; use up to 40 letters, digits, - and _")
    return text


# Nobody needs what lies beyond these bounds. They keep a slip of the pen from filling the memory.
Count = Annotated[int, Field(ge=0, le=10**9)]
Positive = Annotated[int, Field(gt=0, le=10**9)]
Iterations = Annotated[int, Field(ge=0, le=10**7)]
Batch = Annotated[int, Field(gt=0, le=4096)]
Width = Annotated[int, Field(gt=0, le=1024)]
"""Channels of a network, or pixels of a side."""
Weight = Annotated[float, Field(ge=0, le=1e12)]
Rate = Annotated[float, Field(gt=0, le=1e12)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, AfterValidator(_written)]
Name = Annotated[str, AfterValidator(_named)]


def _numeric(annotation: Any) -> bool:
    """Whether a key takes a number, or a number or nothing, and neither `true` nor `false`."""
    kinds = set()
    for kind in (annotation, *get_args(annotation)):
        kinds |= {kind, *get_args(kind)}
    return bool(kinds & {int, float}) and bool not in kinds


class Section(BaseModel):
    """A group of parameters: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is not a number, though Python takes it for 1."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and _numeric(annotation):
            raise WrongError("should be a number")
        return value


class Extra(Section):
    """Further images without landmarks, for training only."""

    source: Literal["300w", "celeba", "folder"]
    location: Text | None = None
    """As `data.location`."""
    sha256: Text | None = None
    """As `data.sha256`."""
    use: Literal["join", "instead"]
    """Beside the training images of `data.source`, or instead of them."""


Faces = Annotated[int, Field(gt=0, le=10**6)]


class Synthetic(Section):
    """The renderer: how many faces it draws for each split, and their side in pixels."""

    train: Faces
    validation: Faces
    test: Faces
    size: Annotated[int, Field(ge=32, le=1024)]


class Data(Section):
    """Where images and landmark shapes come from (stage `download`)."""

    source: Literal["synthetic", "300w", "celeba", "folder"]
    location: Text | None
    """URL (http, https, file), archive (zip, tar) or folder. `synthetic` needs none: null."""
    sha256: Text | None = None
    """Expected digest of the archive."""
    labels: Text | None
    """The landmarks of some images, as a labelling tool has written them: a file, a folder or an archive in any of the
    forms that `data.shapes` takes and that name their images. Null: those of the .pts beside the images alone."""
    shapes: Text | None
    """Unpaired landmark shapes: a .pts folder, a CSV, a JSON, or the file of a labelling tool. Null: the training
    part's own landmarks, unpaired."""
    normaliser: tuple[Count, Count] | None
    """The two landmarks whose distance divides the NME. Null: the scheme's own (iBUG: outer eye corners 36, 45), or the
    diagonal of the landmark box where there is no scheme."""
    extra: Extra | None = None
    synthetic: Synthetic

    @model_validator(mode="after")
    def _located(self) -> Self:
        if self.source != "synthetic" and not self.location:
            raise ValueError(
                f"data.location is empty but data.source is {self.source!r}; "
                "set data.location to a folder, an archive or a URL"
            )
        if self.source == "synthetic" and self.labels:
            raise ValueError(
                "data.labels is set but data.source is 'synthetic', whose faces have their landmarks; "
                "set data.source to folder, or data.labels to null"
            )
        if self.extra and not self.extra.location:
            raise ValueError(
                "data.extra.location is empty but data.extra.source is set; set it to a folder, an archive or a URL"
            )
        return self


class Prepare(Section):
    """The crop, and the split (stage `prepare`)."""

    image_size: Literal[64, 128, 256]
    """Pixels."""
    crop_fill: Annotated[float, Field(gt=0.1, le=1)]
    """Width of the landmark box over the width of the square crop."""
    crop_lift: Annotated[float, Field(ge=-1, le=1)]
    """The crop's centre is moved up by this share of the box's width."""
    crop_height: Annotated[float, Field(gt=0.1, le=1)] | None = None
    """Height of the landmark box over that of the crop, at most, so that a tall object keeps a margin. Null: 1."""
    validation: Fraction
    """Share of the training part held out, by photo group, where the source has no split of its own."""
    test: Fraction
    """The same for the test part."""
    labelled: Text | None
    """A file of image names, one a line: only their landmarks may be seen with their images. Null: all. The unpaired
    shapes are those of the whole training part either way."""
    limit: Positive | None = None
    """Keep at most this many images of each split."""
    halves: bool | None = None
    """Images from one half of the training photos, shapes from the other: no image's own shape is in the prior."""


class Barycenter(Section):
    """X_b: the free-support Wasserstein barycenter of the unpaired shapes (stage `barycenter`)."""

    iterations: Annotated[int, Field(gt=0, le=10**4)]
    shapes: Positive | None = None
    """Use at most this many shapes."""


class Encoder(Section):
    """E: stacked hourglass."""

    stacks: Annotated[int, Field(ge=1, le=4)]
    width: Width
    depth: Annotated[int, Field(ge=1, le=6)]


class Pyramid(Section):
    """G and D: channels at the image's own size, doubled at every halving, up to the maximum."""

    width: Width
    max_width: Width


class Style(Section):
    """S and S_o."""

    size: Width
    width: Width
    latent: Width
    """Length of z."""
    depth: Annotated[int, Field(gt=0, le=32)]
    mixing: Fraction
    """Probability that a fake mixes two styles (StyleGAN2's style mixing)."""


class Model(Section):
    """The five networks."""

    map_size: Literal[8, 16, 32, 64, 128, 256]
    """D: side of the heatmaps, pixels; divides `prepare.image_size`."""
    condition_sigma: Annotated[float, Field(gt=0, le=256)]
    """Width of the landmarks that G and D see, in heatmap pixels."""
    raw_condition: bool | None = None
    """G and D see the encoder's own heatmap L, in place of a map rendered at its landmarks."""
    encoder: Encoder
    gan: Pyramid
    style: Style


class Tolerances(Section):
    """Hinges of R_b's three terms: up to this much is not penalised (unit square, squared)."""

    translation: Weight
    affine: Weight
    warp: Weight


class Loss(Section):
    """The paper's coefficients in the paper's units: cross-entropies are multiplied by c/278528 per nat."""

    c1: Weight
    c2: Weight
    c3: Weight
    lambda_: Annotated[Weight, Field(alias="lambda")]
    mismatch: Weight | None = None
    """Matching-aware D: weight of real images with another image's landmarks, counted as fake."""
    styles: Weight | None = None
    """Weight of the energy distance of the styles S(I) from S_o(z): images in random styles then look like restored
    ones from the first minutes on."""
    c5: Weight
    c6: Weight
    c6_entropy: Weight
    c6_coordinates: Weight
    two_sided: bool | None = None
    """Target `self`: the un-warped view learns from the warped one too, each side stopping the other's gradient."""
    warm: Weight
    """Weight of the warm start, which has the form of R_g with X_b as its target."""
    supervised: Weight
    """Weight of the supervised loss, whose two parts are weighted as those of R_g."""
    c7: Weight
    c8: Weight
    c9: Weight
    c10: Weight
    c10_entropy: Weight
    """Weight of the cross-entropy within c10, as that of R_g within c6."""
    fake_gradient: bool | None = None
    """H(L(I_F) ‖ L): let the gradient through the fake image."""
    cycle: Weight | None = None
    """As H(L(I_F) ‖ L), on images that G makes of unpaired shapes, in the form of R_g."""
    decorrelation: Weight | None = None
    """Weight of L_decor."""
    c11: Weight
    c12: Weight
    c13: Weight
    coupling: Literal["index", "ot"]
    """R_b matches landmark k to landmark k of X_b (a paired mean square), or by optimal transport, the paper's."""
    alignment: Literal["affine", "similarity"]
    """The A of R_b: every affine map, or rotations and scales alone."""
    detach_affine: bool | None = None
    """Stop the gradient at A."""
    tolerances: Tolerances


class Stage(Section):
    """A stretch of training. Stages run in the order in which they are written."""

    iterations: Iterations
    encoder_every: Count | None = None
    """Algorithm 2 at every n-th iteration; 0: never. Left out: at every iteration."""
    gan_every: Count | None = None
    """Algorithm 1 at every n-th iteration. Left out, or 0: never, and no loss that needs G, D or S."""
    image_size: Literal[32, 64, 128] | None = None
    """Pixels, fewer than `prepare.image_size`: images and heatmaps are as much smaller, and an iteration costs as much
    less. Left out: as prepared. A stage with a GAN, and the last one, need the images as prepared."""
    learning_rate: Rate
    """The encoder's; 100 iterations of warm-up, then a cosine down to a twentieth."""
    target: Literal["barycenter", "teacher", "self"]
    """What R_g asks of L(gI): g·X_b (warm start), g·(EMA teacher's points), or g·X_L(I), the paper's."""
    project: bool | None = None
    """Replace the teacher's points by their best similarity of X_b."""
    modes: Count | None = None
    """Leading modes of the shape set inside which the teacher's points are transported onto it (`train.calibrate`)."""
    keep: Fraction | None = None
    """With modes: the share that stays of what lies outside them. Left out: all of it."""
    view: Text | None = None
    """The teacher looks at the image through a random g of this family, a key of `warp`, and its points are carried
    back. Left out: at the image itself, whose errors it then repeats at every turn."""
    regularise: bool | None = None
    """R_b and H(L ‖ L_sp) of the un-warped image, beside R_g."""
    warp: Text
    """The family of g, a key of `warp`."""

    @property
    def encoder_period(self) -> int:
        """Iterations from one of Algorithm 2 to the next; 0: there is none."""
        return 1 if self.encoder_every is None else self.encoder_every


class Train(Section):
    """What a training sees, and how often each algorithm does what."""

    mode: Literal["unsupervised", "semi-supervised", "supervised"]
    initial: Text | None
    """A detector.safetensors whose weights the encoder starts from. Null: random ones."""
    batch_size: Batch
    """Of Algorithm 2."""
    unlabelled: Annotated[int, Field(ge=0, le=4096)] | None = None
    """Semi-supervised: this many images without landmarks join a batch of Algorithm 2, for R_g."""
    gan_batch_size: Batch
    """Of Algorithm 1."""
    gan_warp: Text
    """The family of g in Algorithm 1, a key of `warp`."""
    adversarial_every: Positive | None = None
    """D plays at every n-th iteration of Algorithm 1; at the others G only restores images. Left out: at every one."""
    r1_every: Positive
    """The penalty is added at every n-th of D's turns."""
    restore_every: Positive
    """Images are restored at every n-th iteration of Algorithm 1."""
    ramp: Count
    """Iterations over which c8, c9, c10 rise from 0 once the GAN runs."""
    calibrate: bool
    """Tie the running mean of the teacher's points over the data set to X_b; without it `modes` do nothing."""
    mirror: bool
    """The teacher answers with the mean over an image and its mirror image, where `augment.flip` is on and applies."""
    validate_every: Positive
    """Iterations between two validations; the best of these checkpoints ships."""


class Optimiser(Section):
    """Rates, averages and limits of descent."""

    ema: Decay
    """Decay of E's moving average: the teacher, and the detector that ships."""
    generator_ema: Decay
    """Decay of G's."""
    generator_rate: Rate
    """All weights of G, D and S begin as N(0, 1) and are scaled afterwards: the rate is the share by which an iteration
    changes one. A few hundred iterations need a high one; with a much higher one, G diverges."""
    discriminator_rate: Rate
    style_rate: Rate
    momentum: Decay
    """β₁ of the optimisers of G and S. StyleGAN2 has 0; a run of minutes learns to restore images faster with 0.5."""
    weight_decay: Weight
    """Of E."""
    clip: Rate
    """Largest norm of E's gradient."""


class Augment(Section):
    """How images are changed before the encoder sees them."""

    jitter: Weight
    """Strength of the photometric jitter on the warped view; 0: none."""
    cutout: Fraction
    """Probability that a rectangle of the warped view is blanked."""
    flip: bool
    """Mirror images at random where the landmark scheme says which landmarks swap."""


Coefficient = Literal["c5", "c6", "c7", "c8", "c9", "c10"]


class Tuning(Section):
    """The random-direction golden-section search (section 2), within a run or from a trained one (`make tune`)."""

    online: bool
    """Search in the course of `train`: in `tuning.stage`, every `tuning.iterations` iterations are a trial."""
    stage: Text
    """The stage whose iterations a trial makes."""
    coefficients: Annotated[tuple[Coefficient, ...], Field(min_length=1, max_length=6)]
    """What is searched for; a coefficient whose value in `loss` is 0 is left out, since it has no logarithm."""
    iterations: Annotated[int, Field(gt=0, le=10**7)]
    """Of training: one trial."""
    continues: Annotated[Literal["origin", "latest"], Field(alias="continue")]
    """What a trial trains on from: the state at its line's start, or what the trial before it left (the paper's)."""
    range: Annotated[float, Field(gt=1, le=1e6)]
    """c is searched for in [c / range, c · range], from the c of `loss`."""
    step: Annotated[float, Field(gt=0, le=1)] | None = None
    """Length of the longest line, in widths of the range of one coefficient. Left out: the sampler's own, ½."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A line ends when its bracket is shorter than this share of it. Left out: the sampler's own, ½."""
    directions: Positive | None = None
    """Tried before a line goes on along the best of them. Left out: the sampler's own, 5."""


class Evaluate(Section):
    """What `evaluate` draws."""

    overlays: Annotated[int, Field(gt=0, le=100)]
    """Columns of the grids of images."""
    batch_size: Batch | None = None
    """Images that are answered together. Left out: 64."""


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise WrongError("is not a device; use auto, cpu or cuda")
    return name


class Machine(Section):
    """Where and how a run works. No stage depends on it: another value runs nothing again."""

    device: Annotated[str, AfterValidator(_device)]
    """auto, cpu or cuda. Of several processes each has a GPU of its own, the LOCAL_RANK-th."""
    precision: Literal["float32", "bfloat16", "auto"]
    """Of the convolutions; auto: bfloat16 where the processor has instructions for it, else float32."""
    threads: Annotated[int, Field(ge=0, le=1024)]
    """CPU threads of each process; 0: as many as there are cores."""
    eager: bool | None = None
    """On one GPU, launch torch's kernels one by one, as several processes do. Left out: what every iteration repeats is
    recorded as CUDA graphs, and E's normalisations are fused, which is several times faster."""
    log_every: Positive
    """Iterations between two rows of losses."""
    sample_every: Positive
    """Iterations between two grids of sample images."""
    save_every: Positive
    """Iterations between two checkpoints that a killed run resumes from."""


class Tracking(Section):
    """MLflow. No stage depends on it."""

    experiment: Text
    model: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=250)] | None
    """The registered model whose versions are the detectors that beat their floor. Null: none is registered."""


def _numbers_alone(family: Any) -> Any:
    for name, value in family.items() if isinstance(family, dict) else ():
        if isinstance(value, bool) and name != "bounded":
            raise ValueError(f"{brief(str(name))} = {value!r}: should be a number")
    return family


def _list(names: Iterable[str]) -> str:
    return brief(", ".join(names))


class Config(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    data: Data
    prepare: Prepare
    barycenter: Barycenter
    model: Model
    warp: Annotated[dict[Name, Annotated[Family, BeforeValidator(_numbers_alone)]], Field(max_length=100)]
    loss: Loss
    train: Train
    stages: Annotated[dict[Name, Stage], Field(max_length=100)]
    optimiser: Optimiser
    augment: Augment
    tuning: Tuning
    evaluate: Evaluate
    machine: Machine
    tracking: Tracking

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prepare.image_size % self.model.map_size or self.model.map_size > self.prepare.image_size:
            raise ValueError(
                f"model.map_size {self.model.map_size} must divide prepare.image_size {self.prepare.image_size}"
            )
        named = {"train.gan_warp": self.train.gan_warp}
        named |= {f"stages.{name}.warp": stage.warp for name, stage in self.stages.items()}
        named |= {f"stages.{name}.view": stage.view for name, stage in self.stages.items() if stage.view}
        for key, family in named.items():
            if family not in self.warp:
                raise ValueError(f"{key} names the family {quoted(family)}, but `warp` has only {_list(self.warp)}")
        if self.tuning.online and self.tuning.stage not in self.stages:
            raise ValueError(
                f"tuning.stage names {quoted(self.tuning.stage)}, but `stages` has only {_list(self.stages)}"
            )
        if self.tuning.online and not self.stages[self.tuning.stage].iterations:
            raise ValueError(
                f"tuning.stage {self.tuning.stage} has no iterations, so nothing would be searched; give it some, or "
                "name another"
            )
        if not any(stage.iterations for stage in self.stages.values()):
            raise ValueError("stages has no iterations at all; give at least one stage some")
        return self

    @model_validator(mode="after")
    def _sized(self) -> Self:
        run = {name: stage for name, stage in self.stages.items() if stage.iterations}
        size, last = self.prepare.image_size, list(run)[-1]
        for name, stage in run.items():
            if stage.image_size is None:
                continue
            key = f"stages.{name}.image_size {stage.image_size}"
            if stage.image_size >= size:
                raise ValueError(f"{key} should be below prepare.image_size {size}; leave it out where it is the same")
            if stage.gan_every:
                raise ValueError(f"{key} does not go with gan_every: G and D know one size alone; leave one out")
            if name == last:
                raise ValueError(
                    f"{key} is that of the last stage, but the detector sees images of {size}; leave it out"
                )
            if self.tuning.online and self.tuning.stage == name:
                raise ValueError(f"{key} does not go with tuning.stage: trials see images of {size}; leave one out")
            if self.model.map_size * stage.image_size // size < 2**self.model.encoder.depth:
                raise ValueError(
                    f"{key} leaves heatmaps too small for model.encoder.depth {self.model.encoder.depth}; "
                    "lower the depth, or make the images larger"
                )
        return self
