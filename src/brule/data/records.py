"""What the manifest of data/raw says of an image: written by `download`, read by `prepare`."""

from dataclasses import dataclass

from brule.data.crop import Square


@dataclass(frozen=True)
class Record:
    """An image of data/raw, with paths relative to it."""

    image: str
    points: str | None
    group: str
    split: str | None
    """train, validation, test; None: to be chosen by `prepare`."""
    extra: bool
    """Only an image for training: its landmarks frame the crop, and are never passed on."""
    crop: Square | None
    """The square to cut where no landmarks frame it."""
