"""Model files: safetensors with a JSON header. Tensors and words, never code. No other module uses safetensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from brule.errors import BruleError
from brule.files import write_bytes

M = TypeVar("M", bound=nn.Module)


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
    """The header, and the tensors on the CPU. Raises BruleError if the file is missing, damaged, or of another kind."""
    if not Path(path).is_file():
        raise BruleError(f"{path}: there is no such file; train a model first (`dvc repro`), or {kind.mend}")
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads((stream.metadata() or {})[kind.key])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a mapping)
        written = header.get("format")
    except SafetensorError:
        raise BruleError(f"{path}: not a whole safetensors file; {kind.mend}") from None
    except (AttributeError, KeyError, ValueError):
        raise BruleError(f"{path}: a safetensors file, but not a brule {kind.name}; {kind.mend}") from None
    if written != kind.format:
        raise BruleError(
            f"{path}: it has format {written}, but this brule reads {kind.format}; use the brule that wrote it"
        )
    return header, tensors


def sizes(facts: Mapping[str, Any], largest: Mapping[str, int]) -> dict[str, int]:
    """The facts that `largest` names. Raises KeyError or ValueError unless each is an integer from 1 to its largest."""
    found = {name: facts[name] for name in largest}
    if not all(type(value) is int and 0 < value <= largest[name] for name, value in found.items()):
        raise ValueError(f"sizes out of bounds: {found}")
    return found


def fill(network: M, tensors: Mapping[str, Tensor], part: str, path: Path | str, kind: Kind) -> M:
    """`network` with the tensors called `part.…`, frozen and in evaluation mode.

    Build the network on torch's meta device, so that a header with wrong sizes costs no memory. Raises BruleError if
    the tensors do not belong to this network, or are not finite.
    """
    own = {name.removeprefix(f"{part}."): t.float() for name, t in tensors.items() if name.startswith(f"{part}.")}
    try:
        network.load_state_dict(own, assign=True)
    except RuntimeError:
        raise BruleError(f"{path}: its weights do not match its header; {kind.mend}") from None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in own.values()):
        raise BruleError(f"{path}: its weights are damaged; {kind.mend}")
    return network.eval().requires_grad_(False)
