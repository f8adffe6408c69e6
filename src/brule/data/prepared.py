"""The prepared crops as training meets them: memory-mapped arrays, whose labels are opened only on request."""

import tokenize
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from brule.data.crop import Framing
from brule.data.layouts import Split
from brule.data.schemes import Scheme
from brule.documents import parse_json, read_text
from brule.errors import BruleError

Array = npt.NDArray[Any]

CROPS, BARYCENTER = Path("data/crops"), Path("data/barycenter.npy")
_AGAIN = "run the prepare stage again"


@dataclass(frozen=True)
class Crops:
    """The crops of one split."""

    images: npt.NDArray[np.uint8]
    """(N, S, S, 3), memory-mapped, read-only."""
    landmarks: npt.NDArray[np.float32] | None
    """(N, K, 2) in crop units, NaN for an unlabelled image. None: not requested, and never opened."""
    index: pd.DataFrame
    """One row per image: name, source, group (text), labelled, framed (bool: cut around its landmark box)."""

    def __len__(self) -> int:
        return len(self.images)


def load(folder: Path | str, split: Split, labels: bool) -> Crops:
    """A split of the prepared folder. `labels=False` never opens its landmarks. Raises BruleError naming a bad file."""
    place = Path(folder) / split
    images = _array(place / "images.npy", np.uint8, 4)
    landmarks = _array(place / "landmarks.npy", np.float32, 3) if labels else None
    index = _index(place / "index.csv")
    if len(index) != len(images) or (landmarks is not None and len(landmarks) != len(images)):
        raise BruleError(f"{place}: its files differ in the number of images; {_AGAIN}")
    return Crops(images, landmarks, index)


def load_scheme(folder: Path | str) -> Scheme:
    """The landmark scheme of the prepared folder."""
    return read_scheme(Path(folder) / "manifest.json", load_manifest(folder), _AGAIN)


def load_framing(folder: Path | str) -> Framing:
    """How the landmarks stand in the prepared crops."""
    manifest = load_manifest(folder)
    try:
        return Framing(**{name: float(value) for name, value in manifest["framing"].items()})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BruleError(f"{Path(folder) / 'manifest.json'}: does not say how the crops were cut; {_AGAIN}") from None


def load_shapes(folder: Path | str) -> npt.NDArray[np.float32]:
    """The unpaired shapes (M, K, 2) in crop units. Their order says nothing about any image."""
    return np.array(_array(Path(folder) / "shapes.npy", np.float32, 3))


def load_barycenter(path: Path | str = BARYCENTER) -> npt.NDArray[np.float32]:
    """X_b (K, 2) in crop units, as the barycenter stage wrote it."""
    found = np.array(_array(Path(path), np.float32, 2, stage="barycenter"))
    if not np.isfinite(found).all() or not np.ptp(found, axis=0).any():
        raise BruleError(f"{path}: its landmarks are no shape; run the barycenter stage again")
    return found


def load_manifest(folder: Path | str) -> dict[str, Any]:
    """What `prepare` wrote down: scheme, counts, image_size, framing, labelled, halves, source, licence, extra."""
    return read_manifest(Path(folder) / "manifest.json", _AGAIN)


def read_manifest(path: Path, mend: str) -> dict[str, Any]:
    """The manifest of any stage. Raises BruleError with the given `mend` if it is missing or damaged."""
    if not path.is_file():  # reading a pipe would wait for ever
        raise BruleError(f"{path}: is missing; {mend}")
    text, manifest = read_text(path), None
    with suppress(BruleError):
        manifest = parse_json(text, path)
    if not isinstance(manifest, dict):
        raise BruleError(f"{path}: is damaged; {mend}")
    return manifest


def read_scheme(path: Path, manifest: dict[str, Any], mend: str) -> Scheme:
    """The landmark scheme in that manifest of any stage. Raises BruleError with the given `mend` if it is damaged."""
    try:
        return Scheme.from_json(manifest.get("scheme"))
    except BruleError:
        raise BruleError(f"{path}: its landmark scheme is damaged; {mend}") from None


def _array(path: Path, dtype: type[np.generic], dimensions: int, stage: str = "prepare") -> Array:
    again = f"run the {stage} stage again"
    array: Array
    try:
        if path.stat().st_size > 4096:
            array = np.lib.format.open_memmap(path, mode="r")
        else:  # an empty array cannot be mapped
            with path.open("rb") as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
    except OSError:
        raise BruleError(f"{path}: is missing or cannot be read; {again}") from None
    # numpy reads the header as Python's literals, and may believe that the array is vast, or less than empty
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError, MemoryError, OverflowError):
        raise BruleError(f"{path}: is damaged; {again}") from None
    if array.dtype != dtype or array.ndim != dimensions or 0 in array.shape[1:]:
        raise BruleError(f"{path}: has type {array.dtype} and shape {array.shape}, which {stage} never writes; {again}")
    return array


_FACTS = ("labelled", "framed")


def _index(path: Path) -> pd.DataFrame:
    try:
        text = dict.fromkeys(("name", "source", "group"), str)
        # keep_default_na: an image may be called NA.
        frame = pd.read_csv(path, dtype=text | dict.fromkeys(_FACTS, int), keep_default_na=False)
    except OSError:
        raise BruleError(f"{path}: is missing or cannot be read; {_AGAIN}") from None
    except (ValueError, OverflowError):  # OverflowError: of a whole number beyond 64 bits
        raise BruleError(f"{path}: is damaged; {_AGAIN}") from None
    if list(frame.columns) != [*text, *_FACTS]:
        raise BruleError(f"{path}: does not have the columns that prepare writes; {_AGAIN}")
    return frame.astype(dict.fromkeys(_FACTS, bool))
