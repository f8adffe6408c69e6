"""Model files: safetensors with a JSON header. Tensors and words, never code. No other module uses safetensors.

A file is copied into memory, never mapped: whatever happens to it later changes no answer. Whoever made it may be
careless or hostile, so every size in it is checked before memory is taken.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from brule.errors import BruleError, quoted
from brule.files import write_bytes

M = TypeVar("M", bound=nn.Module)

LARGEST = 2**32
"""Bytes of a file, at most."""
LARGEST_HEADER = 2**23
"""Bytes of its names, shapes and words, at most."""
LARGEST_MAP = 2**26
"""Numbers in one layer's answer to one image, at most: a quarter of a gigabyte."""
HEAVIEST = 1e4
"""No weight of a file is larger. Trained ones stay below a thousand."""


@dataclass(frozen=True)
class Kind:
    """A kind of model file."""

    name: str
    """What errors call it."""
    key: str
    """The metadata entry with its header. A file of another kind has no such entry."""
    format: int
    """The version of its header. Files of another version are refused."""
    place: str
    """The file to which training writes it."""

    @property
    def mend(self) -> str:
        return f"give the path of a {self.name} that brule trained, {self.place}"


def save(path: Path | str, kind: Kind, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Replace `path` by these tensors (any device and layout, float32 in the file) and the header, which must fit JSON.

    Atomic. The same tensors and header give the same bytes.
    """
    plain = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
    words = json.dumps({"format": kind.format, **header}, sort_keys=True)
    write_bytes(path, serialise(plain, {kind.key: words}))


def load(path: Path | str, kind: Kind) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header, and copies of the tensors on the CPU, float32 and finite.

    Raises BruleError if the file is missing, may not be read, is too large, damaged, or of another kind.
    """
    _admit(Path(path), kind)
    try:
        with safe_open(path, framework="pt", backend="pread") as stream:
            header = json.loads((stream.metadata() or {})[kind.key])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a mapping)
        written = header.get("format")
    except (SafetensorError, OSError):
        raise BruleError(f"{path}: not a whole safetensors file; {kind.mend}") from None
    except (AttributeError, KeyError, ValueError, RecursionError):
        raise BruleError(f"{path}: a safetensors file, but not a brule {kind.name}; {kind.mend}") from None
    if written != kind.format:
        raise BruleError(
            f"{path}: it has format {quoted(written)}, but this brule reads {kind.format}; use the brule that wrote it"
        )
    if not all(_sound(tensor) for tensor in tensors.values()):
        raise BruleError(f"{path}: its weights are damaged; {kind.mend}")
    return header, {name: tensor.float() for name, tensor in tensors.items()}


def _admit(path: Path, kind: Kind) -> None:
    """Raise BruleError unless this is a file that may be read and is of a size that brule writes."""
    try:
        mode = path.stat().st_mode
        if not S_ISREG(mode):  # opening a pipe would wait for ever
            what = "a folder" if S_ISDIR(mode) else "not a file"
            raise BruleError(f"{path}: is {what}; {kind.mend}")
        with path.open("rb") as stream:
            header, whole = int.from_bytes(stream.read(8), "little"), os.fstat(stream.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError):
        raise BruleError(f"{path}: there is no such file; train a model first (`dvc repro`), or {kind.mend}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise BruleError(f"{path}: cannot be read ({reason}); correct that, or {kind.mend}") from None
    if whole > LARGEST:
        raise BruleError(f"{path}: has {whole} bytes, more than the {LARGEST} of any {kind.name}; {kind.mend}")
    if header > min(whole, LARGEST_HEADER):
        raise BruleError(f"{path}: not a whole safetensors file; {kind.mend}")


def _sound(tensor: Tensor) -> bool:
    """Whether these can be weights: real numbers, none beyond HEAVIEST."""
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return False
    return not tensor.numel() or bool(tensor.abs().max() <= HEAVIEST)  # false for NaN


def sizes(facts: Mapping[str, Any], largest: Mapping[str, int]) -> dict[str, int]:
    """The facts that `largest` names. Raises KeyError or ValueError unless each is an integer from 1 to its largest."""
    found = {name: facts[name] for name in largest}
    if not all(type(value) is int and 0 < value <= largest[name] for name, value in found.items()):
        raise ValueError("sizes out of bounds")
    return found


def demand_room(channels: int, side: int) -> None:
    """Raise ValueError if a layer's answer, `channels` maps of `side` pixels each way, is larger than LARGEST_MAP."""
    if channels * side**2 > LARGEST_MAP:
        raise ValueError(f"{channels} maps of {side} pixels are too large")


def fill(network: M, tensors: Mapping[str, Tensor], part: str, path: Path | str, kind: Kind) -> M:
    """`network` with the tensors called `part.…`, frozen and in evaluation mode.

    Build the network on torch's meta device, so that a header with wrong sizes costs no memory. Raises BruleError if
    the tensors do not belong to this network.
    """
    own = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
    try:
        network.load_state_dict(own, assign=True)
    except RuntimeError:
        raise BruleError(f"{path}: its weights do not match its header; {kind.mend}") from None
    return network.eval().requires_grad_(False)
