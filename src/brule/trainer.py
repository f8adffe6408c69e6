"""The `train` stage: the data, the files, MLflow and the terminal around `method.training`."""

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from brule import detector, figures, files, machine, tracking, weights
from brule.config import Config, fingerprint, flatten
from brule.console import Display
from brule.data import faces as data
from brule.errors import BruleError
from brule.method.batches import to_tensor
from brule.method.checkpoint import Checkpoint
from brule.method.samples import samples
from brule.method.schedule import Moment
from brule.method.training import Inputs, Row, Training

FACES, BARYCENTER = Path("data/faces"), Path("data/barycenter.npy")
MODELS, RESULTS = Path("models"), Path("results")
SAMPLES = RESULTS / "samples"
SECTIONS = ("seed", "model", "warp", "loss", "train")
"""The parameters that a resumed run must share with the one it continues."""


def read_inputs(config: Config, folder: Path = FACES, barycenter: Path = BARYCENTER) -> tuple[Inputs, list[Path]]:
    """What the mode may see, and the files it was read from. An unsupervised run opens no training landmarks."""
    train = data.load(folder, "train", labels=config.train.mode != "unsupervised")
    scheme = data.load_scheme(folder)
    paths = [folder / "manifest.json", folder / "shapes.npy", barycenter, folder / "train/images.npy"]
    paths += [folder / f"validation/{name}" for name in ("images.npy", "landmarks.npy")]
    encoder = gan = train
    if train.landmarks is not None:
        paths.append(folder / "train/landmarks.npy")
        known = np.flatnonzero(train.index["labelled"])
        encoder = replace(
            train, images=train.images[known], landmarks=train.landmarks[known], index=train.index.iloc[known]
        )
        if len(encoder.images) == 0:
            raise BruleError(
                f"train.mode is {config.train.mode}, but no training image in {folder} has landmarks; use unsupervised"
            )
        gan = replace(encoder if config.train.mode == "supervised" else train, landmarks=None)
    inputs = Inputs(
        encoder=encoder,
        gan=gan,
        validation=data.load(folder, "validation", labels=True),
        scheme=scheme,
        X_b=_barycenter(barycenter),
        shapes=data.load_shapes(folder),
    )
    for name, faces in (("train", train), ("validation", inputs.validation)):
        if len(faces.images) == 0:
            raise BruleError(
                f"{folder}/{name} holds no images; bring more, or change prepare.{name if name != 'train' else 'limit'}"
            )
    return inputs, paths


def _barycenter(path: Path) -> npt.NDArray[np.float32]:
    try:
        X_b: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise BruleError(f"{path}: is missing or damaged; run the barycenter stage again") from None
    return X_b


def train(config: Config) -> None:
    """Run or resume the training that params.yaml describes; write the models, the history and the pictures."""
    inputs, paths = read_inputs(config)
    mark = fingerprint(config, SECTIONS, [*paths, *_code()])
    checkpoint = Checkpoint(mark)
    training = Training(config, inputs, machine.device(config.train.device))
    carry = _begin(training, checkpoint)
    with tracking.run(config, stage="train", resume_id=carry["run_id"], tags={"fingerprint": mark}) as run:
        if not run.resumed:
            _describe(run, config, inputs, fingerprint(config, (), paths))
        carry["run_id"] = run.id
        with Display(training.schedule.iterations, training.iteration) as display:
            world = _World(run, display, carry, checkpoint.folder / SAMPLES.name)
            training.run(checkpoint, world, carry)
        world.tick()
        summary = _outputs(training, carry, mark)
        run.metrics({f"final/{k}": v for k, v in summary["validation"].items()}, training.iteration)
    print(_verdict(summary))
    checkpoint.delete()


def _code() -> list[Path]:
    """The modules that compute: a state saved by other code is not continued."""
    package = Path(__file__).parent
    return sorted(path for wing in ("maths", "networks", "method") for path in (package / wing).glob("*.py"))


def _begin(training: Training, checkpoint: Checkpoint) -> dict[str, Any]:
    """Restore the checkpoint where there is one; what the run carries along beside its state."""
    shutil.rmtree(SAMPLES, ignore_errors=True)
    carry: dict[str, Any] = {"run_id": None, "seconds": 0.0, "threads": training.config.train.threads}
    if state := checkpoint.load():
        training.restore(state)
        carry = state["carry"]
        if (checkpoint.folder / SAMPLES.name).exists():  # DVC cleared the stage's outputs
            shutil.copytree(checkpoint.folder / SAMPLES.name, SAMPLES, ignore=shutil.ignore_patterns(".*"))
        print(f"resuming at iteration {training.iteration} of {training.schedule.iterations}", file=sys.stderr)
    if training.device.type == "cpu":
        if not carry["threads"]:
            probe = to_tensor(training.inputs.gan.images[: training.config.train.batch_size], training.device)
            carry["threads"] = machine.quickest_threads(training.networks.E, probe)
        torch.set_num_threads(carry["threads"])  # the same after a kill: sums in another order are other sums
    return carry


class _World:
    """Passes what happens in training on to MLflow, the terminal and the pictures' folder."""

    def __init__(self, run: tracking.Run, display: Display, carry: dict[str, Any], kept: Path) -> None:
        self.run, self.display, self.carry, self.kept = run, display, carry, kept
        self.last = time.perf_counter()

    def tick(self) -> None:
        """Add the time since the last call to the seconds that the run has taken, over all its resumptions."""
        now = time.perf_counter()
        self.carry["seconds"] += now - self.last
        self.last = now

    def iteration(self, done: int, moment: Moment, losses: dict[str, float]) -> None:
        self.tick()
        self.display.advance(done, moment.name, losses)

    def row(self, row: Row) -> None:
        numbers = {name: value for name, value in row.items() if isinstance(value, float)}
        self.run.metrics(numbers, int(row["iteration"]))
        self.display.note(row)

    def saving(self) -> None:
        self.tick()
        self.run.flush()

    def pictures(self, training: Training, done: int) -> None:
        rows, points = samples(training.networks, training.inputs.validation, training.settings, training.device)
        path = SAMPLES / f"{done:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figures.sample_grid(rows, points, path, scheme=training.inputs.scheme)
        files.write_bytes(self.kept / path.name, path.read_bytes())
        self.run.image(path, key="samples", step=done)


def _describe(run: tracking.Run, config: Config, inputs: Inputs, digest: str) -> None:
    run.params(flatten(config))
    counts = {
        "train": len(inputs.encoder.images),
        "gan": len(inputs.gan.images),
        "validation": len(inputs.validation.images),
    }
    run.dataset(name=config.data.source, digest=digest, counts=counts)


def _outputs(training: Training, carry: dict[str, Any], mark: str) -> dict[str, Any]:
    """Write models/, results/history.csv and results/train.json."""
    config, n, best = training.config, training.networks, training.best
    if not best.encoder:
        raise BruleError("training: the encoder never gave a finite answer; lower the learning rates in train.stages")
    training.networks.E_ema.module.load_state_dict(best.encoder)
    detector.save(
        MODELS / "detector.safetensors",
        n.E_ema.module,
        barycenter=training.inputs.X_b,
        scheme=training.inputs.scheme,
        image_size=config.prepare.image_size,
        map_size=config.model.map_size,
        architecture=config.model.encoder.model_dump(),
        training={"mode": config.train.mode, "fingerprint": mark, "iteration": best.iteration},
    )
    gan = {"generator": n.G_ema.module, "discriminator": n.D, "style": n.S, "noise_to_style": n.So}
    tensors = {f"{name}.{key}": value for name, m in gan.items() for key, value in m.state_dict().items()}
    weights.save(MODELS / "gan.safetensors", tensors, {"model": config.model.model_dump_json()})
    files.write_text(RESULTS / "history.csv", pd.DataFrame(training.history).to_csv(index=False))
    numbers = {name: value for name, value in best.row.items() if isinstance(value, float)}
    summary = {
        "best_iteration": best.iteration,
        "validation": {name.split("/")[1]: value for name, value in numbers.items()},
        "alarms": best.alarms,
        "mlflow_run_id": carry["run_id"],
        "seconds": round(carry["seconds"], 1),
        "images_per_second": round(training.images / carry["seconds"], 1),
        "threads": torch.get_num_threads(),
        "fingerprint": mark,
        "history_rows": len(training.history),
    }
    files.write_json(RESULTS / "train.json", summary)
    return summary


def _verdict(summary: dict[str, Any]) -> str:
    if not summary["alarms"]:
        return (
            f"trained in {summary['seconds']:.0f} s; best at iteration {summary['best_iteration']}; no collapse alarm"
        )
    return "\n".join(f"collapse alarm: {sentence}" for sentence in summary["alarms"])
