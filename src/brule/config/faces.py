"""What the images are and how they deform: `data`, `prepare`, `barycenter`, `warp`, and the networks, `model`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brule.config.section import Count, Fraction, Positive, Rate, Section, Weight


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
