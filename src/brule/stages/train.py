"""The `train` stage: the data, the files, MLflow and the terminal around `method.training`.

What a run of the `train` stage may see: images, landmarks as the mode allows, the prior, weights to start from.

The networks of a training as the files that users get.

results/train.json: what a run came to, in numbers, and the last words of the `train` stage.

Pictures of what the networks know: images with landmarks, their restorations, and two styles of one shape."""

import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from brule import figures, files, identity, machine, tracking
from brule.config import Config, fingerprint, flatten
from brule.data import prepared as data
from brule.data.crop import Framing
from brule.data.prepared import Crops
from brule.detector import gan
from brule.detector import model as detector
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.maths import heatmaps
from brule.maths.images import to_tensor, to_uint8
from brule.method.collapse import Watch, collapse
from brule.method.compute import flops
from brule.method.context import Networks, Settings, condition
from brule.method.loop import Checkpoint, Loop
from brule.method.schedule import Moment
from brule.method.training import Inputs, Row, Training
from brule.method.tuning import TRIAL, Online
from brule.terminal import Display, Stop

MODELS, RESULTS = Path("models"), Path("results")
SAMPLES = RESULTS / "samples"
SECTIONS = ("seed", "model", "warp", "loss", "train", "tuning")
"""The parameters that a resumed run must share with the one it continues."""


def train(config: Config) -> None:
    """Run or resume the training that params.yaml describes; write the models, the history and the pictures."""
    inputs, paths = read_inputs(config)
    mark = fingerprint(config, SECTIONS, [*paths, *_code()])
    checkpoint = Checkpoint(mark)
    training = Training(config, inputs, machine.device(config.train.device))
    loop = Loop(training)
    carry = _begin(loop, checkpoint)
    tags = {"fingerprint": mark, **_identity(config)}
    with tracking.run(config, stage="train", resume_id=carry["run_id"], tags=tags) as run:
        if not run.resumed:
            _describe(run, config, inputs, fingerprint(config, (), paths))
        carry["run_id"] = run.id
        total = training.schedule.iterations
        with Stop() as stop, Display(total, training.iteration) as display:
            world = _World(run, display, carry, checkpoint.folder / SAMPLES.name, stop)
            for row in training.history:  # of a resumed run: what fired before the kill is no news
                world.watch.news(row)
            loop.run(checkpoint, world, carry)
        if training.iteration < total:
            print(f"stopped and saved at iteration {training.iteration} of {total}; dvc repro goes on", file=sys.stderr)
            raise SystemExit(stop.exit_code)
        world.tick()
        told = _outputs(training, loop.tuner, carry, mark)
        final = told["validation"] | {name: told[name] for name in ("seconds", "threads")}
        run.metrics({f"final/{name}": value for name, value in final.items()}, training.iteration)
        run.tags({"weights": identity.sha((MODELS / "detector.safetensors").read_bytes())})
        if told["collapsed"]:
            run.tags({"collapsed": told["collapsed"]["sentence"]})
    print(verdict(told))
    checkpoint.delete()


def _code() -> list[Path]:
    """The modules that compute: a state saved by other code is not continued."""
    package = Path(__file__).parent
    return sorted(path for wing in ("maths", "networks", "method") for path in (package / wing).glob("*.py"))


def _identity(config: Config) -> dict[str, str]:
    """By what the results table knows this run in MLflow, whoever started it."""
    initial = config.train.initial
    tags = {} if initial is None else {"initial": identity.sha(Path(initial).read_bytes())}
    with suppress(BruleError):  # the list of labels that it names is gone since `prepare` read it
        tags["content"] = identity.content(Path(), config, identity.code(Path(__file__).parent))
    return tags


def _begin(loop: Loop, checkpoint: Checkpoint) -> dict[str, Any]:
    """Restore the checkpoint where there is one; what the run carries along beside its state."""
    training = loop.training
    shutil.rmtree(SAMPLES, ignore_errors=True)
    carry: dict[str, Any] = {"run_id": None, "seconds": 0.0, "pace": None}
    if state := checkpoint.load():
        loop.restore(state)
        carry = state["carry"]
        if (checkpoint.folder / SAMPLES.name).exists():  # DVC cleared the stage's outputs
            shutil.copytree(checkpoint.folder / SAMPLES.name, SAMPLES, ignore=shutil.ignore_patterns(".*"))
        print(f"resuming at iteration {training.iteration} of {training.schedule.iterations}", file=sys.stderr)
    if carry["pace"] is None:
        wanted, images = training.config.train, training.inputs.gan.images[: training.config.train.batch_size]
        chosen = machine.pace(training.networks.E, to_tensor(images, training.device), wanted.threads, wanted.precision)
        carry["pace"] = asdict(chosen)
    pace = machine.Pace(**carry["pace"])  # the same after a kill
    machine.keep(pace)
    training.compute(pace.precision)
    return carry


class _World:
    """Passes what happens in training on to MLflow, the terminal and the pictures' folder."""

    def __init__(self, run: tracking.Run, display: Display, carry: dict[str, Any], kept: Path, stop: Stop) -> None:
        self.run, self.display, self.carry, self.kept, self.stop = run, display, carry, kept, stop
        self.watch = Watch()
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
        for sentence in self.watch.news(row):
            self.display.alarm(sentence)

    def trial(self, row: Row) -> None:
        self.run.metrics({name: float(row[name]) for name in row if name != TRIAL}, int(row[TRIAL]))
        self.display.trial(row)

    def stopping(self) -> bool:
        return self.stop.signal is not None

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


def _outputs(training: Training, tuner: Online | None, carry: dict[str, Any], mark: str) -> dict[str, Any]:
    """Write models/, results/history.csv and results/train.json."""
    best = training.best
    if not best.encoder:
        raise BruleError("training: the encoder never gave a finite answer; lower the learning rates in train.stages")
    training.networks.E_ema.module.load_state_dict(best.encoder)
    ship_detector(MODELS / "detector.safetensors", training, {"fingerprint": mark, "iteration": best.iteration})
    ship_gan(MODELS / "gan.safetensors", training)
    files.write_text(RESULTS / "history.csv", pd.DataFrame(training.history).to_csv(index=False))
    told = summary(training, carry, mark) | {"tuned": tuner and tuner.summary()}
    files.write_json(RESULTS / "train.json", told)
    return told


def read_inputs(
    config: Config, folder: Path = data.CROPS, barycenter: Path = data.BARYCENTER
) -> tuple[Inputs, list[Path]]:
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
    X_b = data.load_barycenter(barycenter)
    initial, origin = _initial(config, len(X_b), paths)
    inputs = Inputs(
        encoder=encoder,
        gan=gan,
        validation=data.load(folder, "validation", labels=True),
        scheme=scheme,
        X_b=X_b,
        shapes=data.load_shapes(folder),
        initial=initial,
        origin=origin,
    )
    for name, crops in (("train", train), ("validation", inputs.validation)):
        if len(crops.images) == 0:
            raise BruleError(
                f"{folder}/{name} holds no images; bring more, or change prepare.{name if name != 'train' else 'limit'}"
            )
    return inputs, paths


def _initial(config: Config, landmarks: int, paths: list[Path]) -> tuple[dict[str, torch.Tensor], str | None]:
    """The weights of `train.initial`, whose file joins `paths`, and their origin; none where E starts at random."""
    if config.train.initial is None:
        return {}, None
    path = Path(config.train.initial)
    if not path.exists():  # in models/ it is an output of this very stage, which DVC removes before the stage runs
        raise BruleError(f"train.initial: {path} does not exist; copy the detector to a place outside models/")
    detector = Detector.load(path)
    found = {"landmarks": len(detector.scheme.names), "image_size": detector.image_size, "map_size": detector.map_size}
    wanted = {"landmarks": landmarks, "image_size": config.prepare.image_size, "map_size": config.model.map_size}
    found, wanted = found | dict(detector.architecture), wanted | config.model.encoder.model_dump()
    if found != wanted:
        raise BruleError(f"train.initial: {path} is an encoder of {found}, the run's is {wanted}; make them agree")
    paths.append(path)
    told = detector.training
    return dict(detector.encoder.state_dict()), f"{told.get('mode')}, fingerprint {told.get('fingerprint')}"


def ship_detector(path: Path, training: Training, told: Mapping[str, Any]) -> None:
    """The encoder's moving average as it stands; `told`: what the file says of its training beside the mode."""
    config, inputs = training.config, training.inputs
    detector.save(
        path,
        training.networks.E_ema.module,
        barycenter=inputs.X_b,
        scheme=inputs.scheme,
        image_size=config.prepare.image_size,
        map_size=config.model.map_size,
        architecture=config.model.encoder.model_dump(),
        framing=Framing(config.prepare.crop_fill, config.prepare.crop_lift),
        training={"mode": config.train.mode, **told, "initial": inputs.origin},
    )


def ship_gan(path: Path, training: Training) -> None:
    """G's moving average, D, S and S_o as they stand."""
    n = training.networks
    gan.save(
        path,
        {"generator": n.G_ema.module, "discriminator": n.D, "style": n.S, "noise_to_style": n.So},
        landmarks=len(training.inputs.X_b),
        image_size=training.config.prepare.image_size,
        model=training.config.model.model_dump(),
        iterations=int(n.G_ema.n_averaged),
    )


def summary(training: Training, carry: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The shipped checkpoint and its alarms, the collapse that the run ended in (or null), and what the run cost."""
    best, ended = training.best, collapse(training.history)
    numbers = {name: value for name, value in best.row.items() if isinstance(value, float)}
    return {
        "best_iteration": best.iteration,
        "validation": {name.split("/")[1]: value for name, value in numbers.items()},
        "alarms": best.alarms,
        "collapsed": ended and {**asdict(ended), "sentence": ended.sentence(best.iteration, best.healthy)},
        "mlflow_run_id": carry["run_id"],
        "seconds": round(carry["seconds"], 1),
        "images_per_second": round(training.images / carry["seconds"], 1),
        "tflops": _tflops(training, carry["seconds"]),
        **carry["pace"],
        "fingerprint": mark,
        "history_rows": len(training.history),
    }


def _tflops(training: Training, seconds: float) -> float | None:
    """10¹² operations a second, to be held against a GPU's peak in bfloat16; a CPU is not asked to count them."""
    if training.device.type != "cuda":
        return None
    return round(flops(training.config, training.inputs, training.device) / seconds / 1e12, 2)


def verdict(summary: Mapping[str, Any]) -> str:
    """The end of the run in words: a collapse first, then each alarm that stands at the end."""
    start = f"trained in {summary['seconds']:.0f} s"
    if ended := summary["collapsed"]:
        alarms = "".join(f"\ncollapse alarm: {sentence}" for sentence in ended["alarms"])
        return f"{start}, but {ended['sentence']}{alarms}"
    return f"{start}; best at iteration {summary['best_iteration']}; no collapse alarm"


COUNT = 8


@torch.no_grad()
def samples(n: Networks, crops: Crops, s: Settings, device: torch.device) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({row's name: uint8 (8, S, S, 3)}, landmarks (8, K, 2)) of the first images; the noise is fixed."""
    I = to_tensor(crops.images[:COUNT], device)
    log_L = heatmaps.log_probabilities(n.E_ema(I)[-1])
    X_L = heatmaps.coordinates(log_L.exp())
    L_sp = condition(log_L, X_L, s)
    styles = n.So.truncated(2)[:, None].expand(-1, len(I), -1)  # (2, 8, style)
    rows = {
        "image": I,
        "restored": n.G_ema(L_sp, n.S(I)),
        "style 1": n.G_ema(L_sp, styles[0]),
        "style 2": n.G_ema(L_sp, styles[1]),
    }
    return {name: to_uint8(images) for name, images in rows.items()}, X_L.cpu().numpy()
