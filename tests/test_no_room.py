"""Where nothing can be written, `export`, `predict --out` and `generate` say so in a line and leave nothing behind."""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from rich.text import Text

from brule.cli import command
from brule.detector import gan
from brule.detector import onnx as export
from brule.detector.model import Detector
from brule.networks.generator import Generator
from brule.networks.style import NoiseToStyle, StyleEncoder

sys.path.insert(0, str(Path(__file__).parent))
from permissions import reachable, read_only
from servers import write_detector

STYLE = {"size": 8, "width": 4, "latent": 8, "depth": 2, "mixing": 0.9}
MODEL: dict[str, Any] = {"condition_sigma": 1.25, "map_size": 16, "generator": {"width": 4, "max_width": 8}}
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.75]], np.float32)
COMMANDS = {
    "export": ["--onnx", "detector.onnx"],
    "predict": ["photo.png", "--out", "found", "--overlay"],
    "generate": ["drawn", "-n", "2"],
}


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """A detector, a GAN, a shape to draw and a photo, which any user may read."""
    with reachable() as folder:
        write_detector(folder / "models" / "detector.safetensors")
        torch.manual_seed(0)
        parts = {"generator": Generator(3, 64, 16, 8, 4, 8), "noise_to_style": NoiseToStyle(8, 8, 2)}
        parts |= {"style": StyleEncoder(64, 8, 4)}
        facts: dict[str, Any] = {"landmarks": 3, "image_size": 64, "model": MODEL | {"style": STYLE}, "iterations": 9}
        gan.save(folder / "models" / "gan.safetensors", parts, **facts)
        (folder / "data" / "crops").mkdir(parents=True)
        np.save(folder / "data" / "crops" / "shapes.npy", SHAPE[None])
        noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "photo.png")
        # What the commands import at first use: `nobody` may not be able to read it.
        Detector.load(folder / "models" / "detector.safetensors")
        for module in ("rich.progress", "brule.data.landmarks", "brule.detector.generation", "brule.figures.grids"):
            import_module(module)
        for library in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(library, reason=f"{library} is not installed; pip install -e '.[dev]'")
        Console(stderr=True).print(Text(""))
        yield folder


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond a few bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("lack", "cause"),
    [
        (read_only, "no permission to write here; change"),
        (small_files, "the file is larger than its filesystem allows"),
    ],
    ids=["a read-only folder", "no room"],
)
def test_nothing_half_written_stays(
    lack: Callable[[], AbstractContextManager[None]],
    cause: str,
    name: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = import_module("onnx").ModelProto(doc_string="long" * 99)  # in place of the exporter, which takes seconds
    monkeypatch.setattr(export, "_model", lambda _: model)
    monkeypatch.setattr(export, "_difference", lambda *_: 0.0)
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["brule", name, *COMMANDS[name]])
    before = everything(project)
    with lack(), pytest.raises(SystemExit) as exit_:
        command.main()
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if ": " in line and "rained" not in line]
    assert exit_.value.code == 1 and cause in lines[-1] and "Traceback" not in told.err
    assert lines[-1].startswith((COMMANDS[name][-1], *COMMANDS[name], str(project))), lines
    assert everything(project) == before


def everything(project: Path) -> list[Path]:
    """All but the folder that `predict` makes first, in order to see whether it can."""
    return sorted(path for path in project.rglob("*") if path.name != "found")
