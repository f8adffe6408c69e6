"""MLflow's registry of models: every detector that learned something is a version, and the best is the champion.

A new version becomes the champion if it is better on the same validation images.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from PIL import Image

from brule.errors import BruleError, public
from brule.tracking.run import Run
from brule.tracking.store import alone, available, missing, opened, place, reason, say

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
REQUIREMENTS = ("mlflow", "numpy", "pillow", "pydantic", "safetensors", "torch")
"""What the registered model needs to run."""
SCHEME = "models:/"
"""How the addresses of registered models begin."""
_ABOUT = f"""Landmark detectors that brule has trained. The alias `{ALIAS}` is at the one with the lowest error on the
validation images: `brule.load("{SCHEME}{{name}}@{ALIAS}")`."""
_HERE = "`brule register` registers the detector in models/"
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measured:
    """How good a version is on the validation split. The test split must not choose."""

    crops: str
    """A digest of the split's images and landmarks. Errors are comparable only if it is the same."""
    nme: float | None
    """Percent; None if the split has no landmarks."""
    floor: float | None
    """The NME of the barycenter on every image."""
    alarms: Sequence[str] = ()
    """How it collapsed, if it did."""

    def tags(self) -> dict[str, str]:
        """As tags of a version."""
        numbers = {"validation.nme": self.nme, "validation.floor": self.floor}
        return {
            "validation.crops": self.crops,
            **{name: "" if value is None else repr(value) for name, value in numbers.items()},
            "alarms": "; ".join(self.alarms)[:5000],
        }

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> Self:
        """From the tags of a version. One that was registered by other means has none of them."""
        nme, floor = (_number(tags.get(f"validation.{name}")) for name in ("nme", "floor"))
        alarms = (tags["alarms"],) if tags.get("alarms") else ()
        return cls(tags.get("validation.crops", ""), nme, floor, alarms)

    def worthless(self) -> str | None:
        """Why it is not worth keeping, if that is known: the barycenter answers better than it."""
        if self.nme is None or self.floor is None or self.nme < self.floor:
            return None
        return f"its validation NME of {self.nme:.2f} % does not beat the floor of {self.floor:.2f} %"

    def __str__(self) -> str:
        known = self.nme is not None and self.floor is not None
        error = f"validation NME {self.nme:.2f} %, floor {self.floor:.2f} %" if known else "its error is unknown"
        return "; ".join([error, *(f"collapse alarm: {alarm}" for alarm in self.alarms)])


def objection(own: Measured, champion: Measured | None) -> str | None:
    """Why the alias stays where it is, or None if it moves. `champion`: the version that has it now, if any."""
    if own.nme is None or own.floor is None:
        return "its validation split has no landmarks, so nothing is known about its error"
    if own.alarms:
        return "its collapse alarms are on"
    if against := own.worthless():
        return against
    if champion is None:
        return None
    if champion.nme is None or champion.crops != own.crops:
        return "it was measured on other validation images than the champion, so the two errors cannot be compared"
    if own.nme >= champion.nme:
        return f"its validation NME of {own.nme:.3f} % does not beat the champion's {champion.nme:.3f} %"
    return None


def register(run: Run, name: str | None, weights: Path, measured: Measured) -> bool:
    """Make the detector a version of the model `name`, move the alias if it is better, and print what happened.

    The same weights are one version, however often they are evaluated; its scores are those of the last time. Nothing
    is registered with name None, without MLflow, or if the barycenter is better. A store that fails is reported once
    and costs nothing else. Returns whether the detector is a version now.
    """
    kept: list[str] = []

    def write(client: MlflowClient, id: str) -> None:
        assert name is not None
        with alone(client.tracking_uri):  # two at once would both compare themselves with the old champion
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            known = _known(client, name, digest)
            if known is None and (against := measured.worthless()):
                say(f"the detector is not registered: {against}")
                return
            title = str(client.get_run(id).info.run_name)
            version = known or _create(client, id, name, title, weights, digest)
            client.update_model_version(name, version, f"{title}: {measured}"[:5000])
            for key, value in measured.tags().items():
                client.set_model_version_tag(name, version, key, value)
            held = "these weights are already" if known else "registered as"
            say(f"{held} version {version} of the model {name}: {_crown(client, name, version, measured)}")
            kept.append(version)

    if name is not None and not run.attempt(write):
        say(f"so no version of the model {name} has these weights yet; `brule register` tries again")
    return bool(kept)


def fetch(uri: str, folder: Path) -> Path:
    """Download the weights of a registered model, `models:/brule@champion` or `models:/brule/3`, to this folder.

    None of its code is run. Raises BruleError if MLflow has no such model, or if it is not a detector of brule.
    """
    if not available():
        raise BruleError(f"{uri}: MLflow is not installed; install it, or give a detector.safetensors")
    from mlflow import MlflowClient, artifacts

    store = place()
    if missing(store):
        raise BruleError(f"{uri}: there is no MLflow store {store}; {_HERE}, or set MLFLOW_TRACKING_URI")
    try:
        # Not the address models:/… itself, which MLflow would look up in the store of the current folder.
        with opened(store):
            source = _source(MlflowClient(store), uri)
        model = Path(artifacts.download_artifacts(source, dst_path=str(folder), tracking_uri=store))
    except Exception as error:  # whatever is wrong with the store or the name
        raise BruleError(
            f"{uri}: MLflow does not return it ({reason(error)}); `mlflow ui` shows the models in {public(store)}, "
            f"and {_HERE}"
        ) from None
    weights = next(model.glob("artifacts/*.safetensors"), None)
    if weights is None:
        raise BruleError(f"{uri}: is not a detector of brule; give {SCHEME}NAME@{ALIAS}, as `evaluate` registered it")
    return weights


def _source(client: MlflowClient, uri: str) -> str:
    """The address of the artifacts of `models:/NAME@ALIAS` or `models:/NAME/VERSION`."""
    name, at, alias = uri.removeprefix(SCHEME).partition("@")
    name, _, number = name.partition("/")
    version = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, number)
    return str(client.get_model_version_download_uri(name, version.version))


def _known(client: MlflowClient, name: str, digest: str) -> str | None:
    """The version that has these weights already, if there is one."""
    found = client.search_model_versions(f"name = '{name}' and tags.sha256 = '{digest}'", max_results=1)
    return str(found[0].version) if found else None


def _create(client: MlflowClient, id: str, name: str, title: str, weights: Path, digest: str) -> str:
    """Log the detector as a model of the run and register that as a new version, whose number is returned."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    run = client.get_run(id)
    plain = re.sub(r"""[/:.%"']""", " ", title)  # what MLflow does not take in such a name
    model = client.create_logged_model(run.info.experiment_id, plain, id)
    with TemporaryDirectory() as folder:
        save(Path(folder) / "model", weights, id, model.model_id)
        client.log_model_artifacts(model.model_id, f"{folder}/model")
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(id, [LoggedModelOutput(model.model_id, 0)])
    try:
        client.create_registered_model(name, description=_ABOUT.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # The location itself: the address models:/… MLflow would look up in the store of the current folder.
    source, tags = model.artifact_location, {"sha256": digest}
    made: ModelVersion = client.create_model_version(name, source, id, tags, model_id=model.model_id)
    return str(made.version)


def save(folder: Path, weights: Path, run_id: str | None = None, model_id: str | None = None) -> None:
    """Write the detector as an MLflow model: its weights, this code, the signature, an example and the requirements.

    `mlflow models serve -m FOLDER --env-manager local` serves it, with or without brule installed.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    pyfunc.save_model(
        str(folder),
        mlflow_model=Model(run_id=run_id, model_id=model_id),
        python_model=str(_PACKAGE / "detector" / "pyfunc.py"),
        artifacts={"detector": str(weights)},
        code_paths=[str(_PACKAGE)],
        pip_requirements=[f"{library}=={_version(library)}" for library in REQUIREMENTS],
        input_example=[{"image": _example()}],
    )


def _crown(client: MlflowClient, name: str, version: str, measured: Measured) -> str:
    """Move the alias or leave it; returns which and why, as a sentence."""
    champion = _champion(client, name)
    if champion is not None and str(champion.version) == version:
        return f"it is the {ALIAS} already"
    against = objection(measured, None if champion is None else Measured.read(champion.tags))
    if against is None:
        client.set_registered_model_alias(name, ALIAS, version)
        return f"it is the {ALIAS} now" + (f", after version {champion.version}" if champion else "")
    stays = f"{ALIAS} stays version {champion.version}" if champion else f"there is no {ALIAS}"
    by_hand = f"by hand: mlflow.MlflowClient().set_registered_model_alias({name!r}, {ALIAS!r}, {version!r})"
    return f"{stays}, since {against} ({by_hand})"


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def _version(library: str) -> str:
    """The version without the label of the build: torch 2.13.0+cpu is 2.13.0."""
    return metadata.version(library).partition("+")[0]


def _example() -> str:
    """A plain grey image, so that no picture of a person is passed on with the model."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
