"""What the trials of a search left, for those that train on from it."""

import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore, download_artifact, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from brule.errors import BruleError
from brule.files import write_bytes

_ATTRIBUTE = "snapshot"  # the user attribute of a trial that holds the id of an artifact


class Snapshots:
    """States as Optuna artifacts in `folder`, which all workers must see."""

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.study, self.folder, self.store = study, folder, FileSystemArtifactStore(str(folder))

    def keep(self, trial: optuna.Trial, state: dict[str, Any]) -> None:
        """Store what a trial left: tensors, numbers and text. Call it before the trial ends."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            path = Path(place) / "state.pt"
            write_bytes(path, buffer.getvalue())
            found = upload_artifact(artifact_store=self.store, file_path=str(path), study_or_trial=trial)
        trial.set_user_attr(_ATTRIBUTE, found)

    def of(self, number: int) -> dict[str, Any]:
        """What the trial of that number left. Raises BruleError where it is not in the folder."""
        id = self.study.get_trials(deepcopy=False)[number].user_attrs.get(_ATTRIBUTE)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "state.pt"
            try:
                download_artifact(artifact_store=self.store, artifact_id=str(id), file_path=str(path))
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (ArtifactNotFound, OSError):
                raise BruleError(
                    f"{self.folder}: lacks what trial {number} left; give every worker the same --snapshots folder"
                ) from None
            except Exception as error:  # torch raises whatever its zip reader or unpickler meets
                raise BruleError(
                    f"{self.folder}: what trial {number} left cannot be read ({type(error).__name__})"
                ) from None
        return state

    def prune(self, needed: set[int]) -> None:
        """Remove what the finished trials left, except these: no trial will train on from it."""
        for trial in self.study.get_trials(deepcopy=False):
            id = trial.user_attrs.get(_ATTRIBUTE) if trial.state.is_finished() else None
            if trial.number not in needed and id:
                with suppress(ArtifactNotFound, OSError):  # another worker was faster
                    self.store.remove(id)
