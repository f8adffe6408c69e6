"""The `train` stage: the data, the files, MLflow and the terminal around `method.training`."""

import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from brule import figures, files, identity, machine, tracking
from brule.config import Config, fingerprint, flatten
from brule.console import Display
from brule.errors import BruleError
from brule.inputs import read_inputs
from brule.maths.pixels import to_tensor
from brule.method.best import Row
from brule.method.checkpoint import Checkpoint
from brule.method.collapse import Watch
from brule.method.loop import Loop
from brule.method.samples import samples
from brule.method.schedule import Moment
from brule.method.training import Inputs, Training
from brule.method.tuning import TRIAL, Online
from brule.shipping import ship_detector, ship_gan
from brule.stopping import Stop
from brule.summary import summary, verdict

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
