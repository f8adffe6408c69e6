"""The `train` stage: the data, the files, MLflow and the terminal around `brule.method`."""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from brule import figures, files, machine, method, tracking
from brule.config import Config, fingerprint, flatten
from brule.data import prepared
from brule.data.prepared import Crops
from brule.detector import gan
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.maths.images import to_tensor, to_uint8
from brule.method import ranks
from brule.method.collapse import Watch, collapse
from brule.method.context import Landmarks, Networks, Settings, condition, landmarks
from brule.method.loop import Checkpoint, Loop
from brule.method.schedule import Moment
from brule.method.training import Inputs, Row, Training
from brule.method.tuning import TRIAL, Online
from brule.terminal import Display, Stop

MODELS, RESULTS = Path("models"), Path("results")
SAMPLES = RESULTS / "samples"
SECTIONS = ("seed", "model", "warp", "loss", "train", "stages", "optimiser", "augment", "tuning", "machine")
"""The parameters that a resumed run must share with the one it continues."""
SAMPLED = 8
"""Images in a row of a sample grid."""


def train(config: Config) -> None:
    """Run or resume the training that params.yaml describes; write the models, the history and the pictures.

    With the other processes that torchrun has started, if it has; rank 0 alone writes.
    """
    with ranks.together(machine.device(config.machine.device)) as device:
        inputs, paths = read_inputs(config)
        checkpoint = Checkpoint(fingerprint(config, SECTIONS, [*paths, *_code()]))
        with _alone(checkpoint.folder / "lock"):
            _train(Training(config, inputs, device), paths, checkpoint)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """No other process is at this training for the body of the `with`; raises BruleError where one is.

    A training outlives the DVC or the torchrun that started it if that is killed, and a second one would write the
    same files.
    """
    with ExitStack() as held:
        if (other := ranks.decided(lambda: _take(lock, held))) is not None:
            if ranks.rank() > 0:
                raise SystemExit(1)  # one sentence is enough
            raise BruleError(
                f"this training is already running, as process {other}; wait for its end, or end it: kill {other}"
            )
        yield


def _take(lock: Path, held: ExitStack) -> str | None:
    """Lock the file until `held` closes or this process dies. Where another one has locked it: that one's number."""
    files.make_folder(lock.parent)
    with files.writing(lock):
        stream = held.enter_context(lock.open("a+"))
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            return stream.read().strip() or "?"
        except OSError:  # of a file system without locks
            return None
        stream.truncate(0)
        print(os.getpid(), file=stream, flush=True)
    return None


def _train(training: Training, paths: Sequence[Path], checkpoint: Checkpoint) -> None:
    config, inputs, run_fingerprint = training.config, training.inputs, checkpoint.folder.name
    loop = Loop(training)
    carried = _begin(loop, checkpoint)
    if ranks.rank() > 0:
        with Stop() as stop:
            loop.run(checkpoint, _Quiet(stop), carried)
        if not training.over:
            raise SystemExit(stop.exit_code)
        return
    tags = {"fingerprint": run_fingerprint, **_origins(config)}
    name = tracking.title(config.data.source, config.prepare.image_size)
    with tracking.run(config, stage="train", name=name, resume_id=carried["run_id"], tags=tags) as run:
        if not run.resumed:
            _describe(run, config, inputs, fingerprint(config, (), paths))
        carried["run_id"] = run.id or carried["run_id"]  # the store may be back for the next slice
        total = training.schedule.iterations
        with Stop() as stop, Display(total, training.iteration) as display:
            observer = _Observer(run, display, carried, checkpoint.folder / SAMPLES.name, stop)
            for row in training.history:  # of a resumed run: what fired before the kill is no news
                observer.watch.news(row)
            loop.run(checkpoint, observer, carried)
        if training.iteration < total:
            print(stopped(training.iteration, total), file=sys.stderr)
            raise SystemExit(stop.exit_code)
        observer.tick()
        summary = _write(training, loop.tuner, carried, run_fingerprint)
        final = summary["validation"] | {name: summary[name] for name in ("seconds", "threads")}
        run.metrics({f"final/{name}": value for name, value in final.items()}, training.iteration)
        run.tags({"weights": files.sha((MODELS / "detector.safetensors").read_bytes())})
        if summary["collapsed"]:
            run.tags({"collapsed": summary["collapsed"]["sentence"]})
    _pictures_back(checkpoint)
    print(verdict(summary))
    checkpoint.delete()


def _code() -> list[Path]:
    """The modules that compute: a state saved by other code is not continued."""
    package = Path(method.__file__).parents[1]
    return sorted(path for room in ("maths", "networks", "method") for path in (package / room).glob("*.py"))


def _origins(config: Config) -> dict[str, str]:
    """What the results table needs, beside the parameters, to know whether a run in MLflow is the run of a row."""
    initial, labelled = config.train.initial, config.prepare.labelled
    tags = {"version": str(method.VERSION)}
    if initial is not None:
        tags["initial"] = files.sha(Path(initial).read_bytes())
    if labelled is not None and Path(labelled).exists():  # it may be gone since `prepare` read it
        tags["labelled"] = files.sha_lines(Path(labelled).read_bytes())
    return tags


def _describe(run: tracking.Run, config: Config, inputs: Inputs, digest: str) -> None:
    """The parameters and the data of a run that begins."""
    run.params(flatten(config))
    counts = {
        "train": len(inputs.encoder.images),
        "gan": len(inputs.gan.images),
        "validation": len(inputs.validation.images),
    }
    run.dataset(name=config.data.source, digest=digest, counts=counts)


def _begin(loop: Loop, checkpoint: Checkpoint) -> dict[str, Any]:
    """Restore the checkpoint where there is one. Returns what the run carries along beside its state."""
    training = loop.training
    first, processes = ranks.rank() == 0, ranks.count()
    if first and SAMPLES.exists():
        with files.writing(SAMPLES):
            shutil.rmtree(SAMPLES)
    carried: dict[str, Any] = {"run_id": None, "seconds": 0.0, "pace": None, "processes": processes}
    if state := checkpoint.load():
        loop.restore(state)
        carried = state["carry"]
        if first:
            _pictures_back(checkpoint)
            print(f"resuming at iteration {training.iteration} of {training.schedule.iterations}", file=sys.stderr)
    if carried["pace"] is None or carried["processes"] != processes:
        wanted = training.config.machine
        chosen = machine.pace(training.device, wanted.threads, wanted.precision)
        carried |= {"pace": ranks.decided(lambda: asdict(chosen)), "processes": processes}
    pace = machine.Pace(**carried["pace"])  # the same after a kill
    machine.keep(pace)
    training.set_precision(pace.precision)
    return carried


def _pictures_back(checkpoint: Checkpoint) -> None:
    """Those that are missing: DVC clears a stage's outputs before it resumes, and before a second start is refused."""
    for path in (checkpoint.folder / SAMPLES.name).glob("[!.]*"):
        if not (SAMPLES / path.name).exists():
            files.write_bytes(SAMPLES / path.name, path.read_bytes())


class _Quiet:
    """Beside rank 0 a process tells the world nothing; but whichever is asked to stop, all stop together."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def iteration(self, done: int, moment: Moment, losses: dict[str, float]) -> None: ...

    def row(self, row: Row) -> None: ...

    def trial(self, row: Row) -> None: ...

    def pictures(self, training: Training, done: int) -> None: ...

    def saving(self) -> None: ...

    def stopping(self) -> bool:
        if asked := ranks.largest(self.stop.signal or 0):  # one that comes meanwhile counts at the next iteration
            self.stop.signal = asked
        return bool(asked)


class _Observer(_Quiet):
    """Passes what happens in training on to MLflow, the terminal and the pictures' folder."""

    def __init__(self, run: tracking.Run, display: Display, carried: dict[str, Any], kept: Path, stop: Stop) -> None:
        super().__init__(stop)
        self.run, self.display, self.carried, self.kept = run, display, carried, kept
        self.watch = Watch()
        self.last = time.perf_counter()

    def tick(self) -> None:
        """Add the time since the last call to the seconds that the run has taken, over all its resumptions."""
        now = time.perf_counter()
        self.carried["seconds"] += now - self.last
        self.last = now

    def iteration(self, done: int, moment: Moment, losses: dict[str, float]) -> None:
        self.tick()
        self.display.advance(done, moment.name, losses)

    def row(self, row: Row) -> None:
        self.run.history(row)
        self.display.note(row)
        for sentence in self.watch.news(row):
            self.display.alarm(sentence)

    def trial(self, row: Row) -> None:
        self.run.metrics({name: float(row[name]) for name in row if name != TRIAL}, int(row[TRIAL]))
        self.display.trial(row)

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


@torch.no_grad()
def samples(n: Networks, crops: Crops, s: Settings, device: torch.device) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the networks know, in pictures: ({row's name: uint8 (8, S, S, 3)}, landmarks (8, K, 2)); z is fixed.

    The first images with their landmarks, their restorations, and the same landmarks in two styles.
    """
    I = to_tensor(crops.images[:SAMPLED], device)
    L: Landmarks = landmarks(n.E_ema, I, replace(s, precision="float32"))
    L_sp = condition(L, s)
    styles = n.So.truncated(2)[:, None].expand(-1, len(I), -1)  # (2, 8, style)
    rows = {
        "image": I,
        "restored": n.G_ema(L_sp, n.S(I)),
        "style 1": n.G_ema(L_sp, styles[0]),
        "style 2": n.G_ema(L_sp, styles[1]),
    }
    return {name: to_uint8(images) for name, images in rows.items()}, L.X_L.cpu().numpy()


# ------------------------------------------------------------------------------------------------------- what goes in


def read_inputs(
    config: Config, folder: Path = prepared.CROPS, barycenter: Path = prepared.BARYCENTER
) -> tuple[Inputs, list[Path]]:
    """What the mode may see, and the files it was read from. An unsupervised run opens no training landmarks."""
    train = prepared.load(folder, "train", labels=config.train.mode != "unsupervised")
    scheme = prepared.load_scheme(folder)
    paths = [folder / "manifest.json", folder / "shapes.npy", barycenter, folder / "train/images.npy"]
    paths += [folder / f"validation/{name}" for name in ("images.npy", "landmarks.npy")]
    encoder = gan_images = train
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
        gan_images = replace(encoder if config.train.mode == "supervised" else train, landmarks=None)
    X_b = prepared.load_barycenter(barycenter)
    initial, origin = _initial(config, len(X_b), paths)
    inputs = Inputs(
        encoder=encoder,
        gan=gan_images,
        validation=prepared.load(folder, "validation", labels=True),
        scheme=scheme,
        X_b=X_b,
        shapes=prepared.load_shapes(folder),
        initial=initial,
        origin=origin,
    )
    for name, crops, key in (("train", train, "limit"), ("validation", inputs.validation, "validation")):
        if len(crops.images) == 0:
            raise BruleError(f"{folder}/{name} holds no images; bring more, or change prepare.{key}")
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
    about = detector.training
    return dict(detector.encoder.state_dict()), f"{about.get('mode')}, fingerprint {about.get('fingerprint')}"


# ------------------------------------------------------------------------------------------------------ what comes out


def _write(training: Training, tuner: Online | None, carried: dict[str, Any], run_fingerprint: str) -> dict[str, Any]:
    """Write models/, results/history.csv, train.json and run.json; returns what the last two hold.

    What differs from one run of the same inputs to the next stands in run.json alone, which git ignores.
    """
    best = training.best
    if not best.encoder:
        raise BruleError("training: the encoder never gave a finite answer; lower the learning rates in stages")
    training.networks.E_ema.module.load_state_dict(best.encoder)
    about = {"fingerprint": run_fingerprint, "iteration": best.iteration}
    ship_detector(MODELS / "detector.safetensors", training, about)
    ship_gan(MODELS / "gan.safetensors", training)
    history = pd.DataFrame(training.history).assign(version=method.VERSION)
    files.write_text(RESULTS / "history.csv", history.to_csv(index=False))
    summary = summarise(training, carried, run_fingerprint) | {"tuned": tuner and tuner.summary()}
    files.write_json(RESULTS / "train.json", summary)
    spent = {
        "mlflow_run_id": carried["run_id"],
        "seconds": round(carried["seconds"], 1),
        "images_per_second": round(training.images / carried["seconds"], 1),
    }
    files.write_json(RESULTS / "run.json", spent)
    return summary | spent


def ship_detector(path: Path, training: Training, about: Mapping[str, Any]) -> None:
    """The encoder's moving average as it stands, and how plausible its answers on the validation crops are.

    about: what the file says of its training beside mode and data.
    """
    config, inputs = training.config, training.inputs
    extra, sources = config.data.extra, [config.data.source]
    if extra:
        sources = [*(sources if extra.use == "join" else []), extra.source]
    data = {
        "source": " and ".join(sources),
        "images": len(inputs.gan),  # every image that either algorithm saw
        "labelled": 0 if inputs.encoder.landmarks is None else len(inputs.encoder),
        "shapes": len(inputs.shapes),
    }
    detector = Detector(
        training.networks.E_ema.module,
        inputs.X_b,
        inputs.scheme,
        config.prepare.image_size,
        config.model.map_size,
        training={"mode": config.train.mode, "version": method.VERSION, **about, "initial": inputs.origin, **data},
        architecture=config.model.encoder.model_dump(),
        framing=prepared.load_framing(prepared.CROPS),
    )
    detector.judged(inputs.validation.images, inputs.shapes).save(path)


def ship_gan(path: Path, training: Training) -> None:
    """G's moving average, D, S and S_o as they stand."""
    n, parameters = training.networks, training.config.model
    sizes = parameters.gan.model_dump()
    gan.save(
        path,
        {"generator": n.G_ema.module, "discriminator": n.D, "style": n.S, "noise_to_style": n.So},
        landmarks=len(training.inputs.X_b),
        image_size=training.config.prepare.image_size,
        model=parameters.model_dump(exclude={"gan"}) | {"generator": sizes, "discriminator": sizes},
        iterations=int(n.G_ema.n_averaged),
    )


def summarise(training: Training, carried: Mapping[str, Any], run_fingerprint: str) -> dict[str, Any]:
    """The shipped checkpoint and its alarms, the collapse that the run ended in (or null), and how it was computed."""
    best, ended = training.best, collapse(training.history)
    numbers = {name: value for name, value in best.row.items() if isinstance(value, float)}
    return {
        "best_iteration": best.iteration,
        "validation": {name.split("/")[1]: value for name, value in numbers.items()},
        "alarms": best.alarms,
        "collapsed": ended and {**asdict(ended), "sentence": ended.sentence(best.iteration, best.healthy)},
        **carried["pace"],
        "version": method.VERSION,
        "fingerprint": run_fingerprint,
        "history_rows": len(training.history),
    }


def stopped(iteration: int, total: int) -> str:
    """That a run was told to stop, and the command that goes on with it."""
    # The state lies in the project's folder and is found by the parameters, wherever DVC runs the experiment next.
    experiment, alone = os.environ.get("DVC_EXP_NAME"), ranks.count() == 1
    again = "the same dvc exp run, with the same -S," if experiment else "dvc repro" if alone else "the same torchrun"
    return f"stopped and saved at iteration {iteration} of {total}; {again} goes on"


def verdict(summary: Mapping[str, Any]) -> str:
    """The end of the run in words: a collapse first, then each alarm that stands at the end."""
    start = f"trained in {summary['seconds']:.0f} s"
    if ended := summary["collapsed"]:
        alarms = "".join(f"\ncollapse alarm: {sentence}" for sentence in ended["alarms"])
        return f"{start}, but {ended['sentence']}{alarms}"
    return f"{start}; best at iteration {summary['best_iteration']}; no collapse alarm"
