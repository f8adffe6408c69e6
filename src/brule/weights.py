"""Weights as safetensors: tensors and strings, never code. Written atomically, refused in one sentence when foreign."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from brule.errors import BruleError
from brule.files import write_bytes


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace `path` by these tensors (on any device, any layout) with `metadata` in the header."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, serialise(plain, dict(metadata)))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors on the CPU, metadata). Raises BruleError where the file is missing or is not safetensors."""
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise BruleError(f"{path} does not exist; train a model first (dvc repro), or give another path") from None
    except (SafetensorError, OSError) as error:
        raise BruleError(f"{path} is not a safetensors file ({error}); train it again or fetch it anew") from None
