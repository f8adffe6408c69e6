"""How the networks learn: `loss` and `train`."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from brule.config.section import Count, Fraction, Positive, Rate, Section, Weight, WrongError


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
