"""Whatever reads a file: how a whole one is made, and who opens it. A mangled one must not get through as a fault."""

import json
import os
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import test_forms
import torch
from conftest import SHAPE, parameters, write_crops
from mangled import FILES
from ruamel.yaml import YAML
from servers import write_detector
from test_evaluation import write_gan

from brule import config
from brule.data import photos
from brule.data.landmarks import read_shapes
from brule.data.prepare import prepare
from brule.data.pts import format_pts, read_pts
from brule.data.sources import fetch
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.method.training import Training
from brule.stages import experiments, table
from brule.stages.study import join
from brule.stages.train import read_inputs
from campaign.harms import hurt, hurt_tree
from campaign.verdicts import answer, expect, leftovers

ROOT = Path(__file__).parents[2]
NAMES = ["left eye", "right eye", "nose", "left", "right"]


class Door(NamedTuple):
    """A kind of file. `whole` writes one, beside whatever else its reader needs, and returns it."""

    whole: Callable[[Path, random.Random], Path]
    open: Callable[[Path], Any]
    good: Callable[[Any], object]
    """Whether this is a right result."""
    hurt: Callable[[bytes, random.Random], bytes] = hurt
    """A mishap of such a file."""
    named: tuple[str, ...] = ()
    """What a sentence may name in place of the file."""


def attempt(door: Door, rng: random.Random, folder: Path) -> None:
    """Mangle a file of this kind and open it. One in twenty stays whole, and must be read."""
    path = door.whole(folder, rng)
    whole = rng.randrange(20) == 0
    if not whole:
        path.write_bytes(door.hurt(path.read_bytes(), rng))
    found = answer(lambda: door.open(path), folder, path.name, *door.named)
    expect(found is None or door.good(found), "what it read is no result")
    expect(found is not None or not whole, "it refuses a whole file")
    expect(not leftovers(folder), f"it leaves {leftovers(folder)}")


def _json(data: bytes, rng: random.Random) -> bytes:
    return _spelled(hurt_tree(json.loads(data), rng)) if rng.random() < 0.6 else hurt(data, rng)


def _yaml(data: bytes, rng: random.Random) -> bytes:
    return _spelled(hurt_tree(YAML(typ="safe").load(data), rng)) if rng.random() < 0.6 else hurt(data, rng)


def _head(data: bytes, rng: random.Random) -> bytes:
    """The head of safetensors says what everything else is, and is a small part of the file."""
    if rng.random() < 0.3:
        return hurt(data, rng)
    size = int.from_bytes(data[:8], "little")
    head = _json(data[8 : 8 + size], rng)
    return len(head).to_bytes(8, "little") + head + data[8 + size :]


def _spelled(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")


# ------------------------------------------------------------------------------------------------------ what is written


def _image(folder: Path, rng: random.Random) -> Path:
    name = rng.choice([name for name in FILES if name.startswith("whole.")])
    path = folder / name
    path.write_bytes(FILES[name])
    return path


def _text(name: str, text: Callable[[], str]) -> Callable[[Path, random.Random], Path]:
    def write(folder: Path, rng: random.Random) -> Path:
        path = folder / name
        path.write_text(text(), encoding="utf-8")
        return path

    return write


def _tool(*suffixes: str) -> Callable[[Path, random.Random], Path]:
    def write(folder: Path, rng: random.Random) -> Path:
        name = rng.choice([name for name in test_forms.WHOLE if name.endswith(suffixes)])
        return test_forms.write(folder / name, test_forms.WHOLE[name]())

    return write


def _long_csv() -> str:
    points = list(zip(NAMES, SHAPE, strict=True))
    return "shape,name,x,y\n" + "".join(f"{shape},{name},{x},{y}\n" for shape in "ab" for name, (x, y) in points)


def _json_shapes() -> str:
    return json.dumps({"names": NAMES, "shapes": [(SHAPE * 100).tolist()] * 2, "pairs": [["left eye", "right eye"]]})


def _detector(folder: Path, rng: random.Random) -> Path:
    write_detector(path := folder / "detector.safetensors")
    return path


def _gan(folder: Path, rng: random.Random) -> Path:
    (folder / "models").mkdir()
    write_gan(folder)
    return folder / "models" / "gan.safetensors"


def _table(folder: Path, rng: random.Random) -> Path:
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    return folder / "experiments" / "tables" / "table1.yaml"


def _ledger(folder: Path, rng: random.Random) -> Path:
    (folder / "results").mkdir()
    return Path(shutil.copy(ROOT / "results" / "table1.json", folder / "results"))


def _crops(folder: Path, rng: random.Random) -> Path:
    write_crops(folder / "data" / "crops", {"train": 8, "validation": 4, "test": 4})
    paths = sorted(path for path in (folder / "data").rglob("*") if path.is_file() and "test" not in path.parts)
    return rng.choice(paths)


def _raw(folder: Path, rng: random.Random) -> Path:
    fetch(_settings(str(photo_folder(folder / "photos", rng))).data, 0, folder / "raw")
    return folder / "raw" / "manifest.json"


def photo_folder(folder: Path, rng: random.Random, count: int = 8) -> Path:
    """Photos of every format, each with its landmarks beside it."""
    folder.mkdir(parents=True)
    kinds = [name for name in FILES if name.startswith("whole.") and name.endswith((".png", ".jpg", ".bmp", ".webp"))]
    kinds = [name for name in kinds if name.count(".") == 1]
    for number in range(count):
        name = kinds[number % len(kinds)]  # equal photos are one group, and every split needs one
        (folder / f"{number}.{name.rpartition('.')[2]}").write_bytes(FILES[name])
        points = SHAPE * 44 + np.random.default_rng(rng.randrange(2**32)).uniform(-1, 1, SHAPE.shape)
        (folder / f"{number}.pts").write_text(format_pts(points))
    return folder


def _journal(folder: Path, rng: random.Random) -> Path:
    path = folder / "study.journal"
    study = join(str(path), "search", _sampler()).study
    for _ in range(3):
        study.tell(trial := study.ask(), trial.suggest_float("c5", 1, 10))
    return path


def _sampler() -> Any:
    from optuna.samplers import RandomSampler

    return RandomSampler(0)


# ---------------------------------------------------------------------------------------------------------- what reads


@cache
def _tiny() -> config.Config:
    return config.parse(parameters())


def _settings(location: str) -> config.Config:
    return config.parse(parameters(data={"source": "folder", "location": location, "normaliser": None}))


def _photo(path: Path) -> np.ndarray:
    with photos.picture(path, path.name, None, 64) as picture:
        return np.asarray(picture.image)


def _detected(path: Path) -> np.ndarray:
    detector = Detector.load(path)
    expect(detector.image_size <= 4096, f"it believes in images of {detector.image_size} pixels")
    return detector.predict(np.full((64, 64, 3), 90, np.uint8)).points


def _drawn(path: Path) -> np.ndarray:
    gan = Gan.load(path)
    return gan.images(np.full((1, gan.landmarks, 2), 0.5), gan.styles(1))


def _rows(path: Path) -> Any:
    return table.read(path.parents[2], "table1")


def _runs(path: Path) -> Any:
    return table.Ledger(path.parents[1], "table1").entries()


def _trainable(path: Path) -> Any:
    os.chdir(next(parent.parent for parent in path.parents if parent.name == "data"))
    inputs = read_inputs(_tiny())[0]
    return Training(_tiny(), inputs, torch.device("cpu"))


def _prepared(path: Path) -> dict[str, int]:
    settings = _tiny()
    return prepare(path.parent, path.parents[1] / "crops", settings.prepare, 0, None, settings.train.mode)


def _experiment(path: Path) -> Any:
    wanted = experiments.merge(experiments.workspace(ROOT), experiments.load(path.parent, path.stem))
    return config.parse(wanted, path.name)


def _searched(path: Path) -> Any:
    study = join(str(path), "search", _sampler()).study
    return [trial.state for trial in study.trials]


def _finite(points: Any) -> bool:
    return bool(np.isfinite(getattr(points, "points", points)).all())


def _params() -> str:
    return (ROOT / "params.yaml").read_text(encoding="utf-8")


def _smoke() -> str:
    return (ROOT / "experiments" / "smoke.yaml").read_text(encoding="utf-8")


def _any(found: Any) -> bool:
    return True


DOORS: dict[str, Door] = {
    "image": Door(_image, _photo, lambda pixels: pixels.ndim == 3 and pixels.size),
    "pts": Door(_text("a.pts", lambda: format_pts(SHAPE * 100)), read_pts, _finite),
    "csv": Door(_text("a.csv", _long_csv), read_shapes, _finite),
    "json": Door(_text("a.json", _json_shapes), read_shapes, _finite, _json),
    "coco": Door(_tool("coco.json"), read_shapes, _finite, _json),
    "label-studio": Door(_tool("studio.json", "short.json"), read_shapes, _finite, _json),
    "labelme": Door(_tool("labelme.json"), read_shapes, _finite, _json),
    "cvat": Door(_tool(".xml"), read_shapes, _finite),
    "deeplabcut": Door(_tool(".csv"), read_shapes, _finite),
    "tps": Door(_tool(".tps"), lambda path: read_shapes(path, test_forms.sizes), _finite),
    "params": Door(_text("params.yaml", _params), config.read, _any, _yaml),
    "experiment": Door(_text("e.yaml", _smoke), _experiment, _any, _yaml),
    "detector": Door(_detector, _detected, _any, _head),
    "gan": Door(_gan, _drawn, lambda drawn: drawn.shape[0] == 1, _head),
    "table": Door(_table, _rows, _any, _yaml),
    "ledger": Door(_ledger, _runs, _any, _json),
    "prepared": Door(_crops, _trainable, _any, named=("prepare", "crops", "barycenter")),
    "manifest": Door(_raw, _prepared, _any, _json, named=("raw",)),
    "journal": Door(_journal, _searched, _any),
}
