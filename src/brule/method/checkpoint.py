"""The resume state of a run: one file, replaced atomically, that holds everything the next iteration depends on."""

import io
import shutil
from typing import Any

import torch

from brule.errors import BruleError
from brule.files import root, write_bytes


class Checkpoint:
    """`.resume/<fingerprint>/state.pt`: a changed parameter or input has another fingerprint and starts afresh."""

    def __init__(self, fingerprint: str) -> None:
        self.folder = root() / ".resume" / fingerprint
        self.path = self.folder / "state.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file as a whole, or leave the old one."""
        buffer = io.BytesIO()  # torch's own writer would turn a full disk into an error of its zip format
        torch.save(state, buffer)
        write_bytes(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """What `save` wrote last; None on a fresh start."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever its zip reader or unpickler meets
            raise BruleError(
                f"{self.path}: the saved training state cannot be read ({type(error).__name__}); "
                "delete this file to start the training afresh"
            ) from None
        return state

    def delete(self) -> None:
        """Called once the outputs are written."""
        shutil.rmtree(self.folder, ignore_errors=True)
