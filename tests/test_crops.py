"""scripts/crops.py: the error of each way, on photos and a detector for which it is known."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from brule.data.crop import DVE, around, cut_file, to_units
from brule.data.pts import format_pts
from brule.data.schemes import Scheme
from brule.detector.model import Detector
from brule.detector.prediction import Prediction
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import crops

UNIT = np.array([[0.0, 0.2], [1.0, 0.0], [0.4, 1.0]])
SCHEME = Scheme(("left", "right", "low"), None, (0, 1), ())
MOVED = {False: 0, True: 5, None: 2}  # pixels, by `refine`
CORNER, SIZE = np.array([60.0, 30.0]), np.array([50.0, 40.0])


@dataclass(frozen=True)
class Boxed(Detector):
    """Answers the shape of the box that it is given, or of the whole photo."""

    def predict(self, images: Any, boxes: Any = None, refine: bool | None = None, batch_size: int = 64) -> Any:
        found = []
        for path, box in zip(images, boxes, strict=True):
            x, y, w, h = box or (0, 0, *Image.open(path).size)
            found.append(Prediction(UNIT * [w, h] + [x, y] + MOVED[refine], np.ones(3, np.float32), SCHEME.names))
        return found

    def points(self, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        units = to_units(UNIT * SIZE + CORNER, around(UNIT * SIZE + CORNER, *self.framing))
        return np.repeat(units[None], len(images), 0).astype(np.float32)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos of 200 × 150 pixels in data/raw and data/crops, and a third without landmarks."""
    monkeypatch.chdir(tmp_path)
    raw, test = Path("data/raw"), Path("data/crops/test")
    (raw / "set").mkdir(parents=True)
    test.mkdir(parents=True)
    truth = UNIT * SIZE + CORNER
    records: list[dict[str, Any]] = []
    for k in range(3):
        Image.new("RGB", (200, 150), (90, 60 * k, 30)).save(raw / f"set/{k}.png")
        (raw / f"set/{k}.pts").write_text(format_pts(truth))
        records.append({"image": f"set/{k}.png", "points": f"set/{k}.pts" if k < 2 else None})
    (raw / "manifest.json").write_text(json.dumps({"source": "discs", "records": records}))
    square = around(truth, *DVE)
    units = to_units(truth, square)
    np.save(test / "images.npy", np.stack([cut_file(raw / f"set/{k}.png", square, 64) for k in range(3)]))
    np.save(test / "landmarks.npy", np.stack([units, units, np.full_like(units, np.nan)]).astype(np.float32))
    rows = [f"set/{k}.png,set,g{k},{int(k < 2)},1" for k in range(3)]
    (test / "index.csv").write_text("\n".join(["name,source,group,labelled,framed", *rows]))
    return tmp_path


@pytest.fixture
def boxed() -> Detector:
    return Boxed(nn.Identity(), np.full((3, 2), 0.5, np.float32), SCHEME, 64, 32)


def table(text: str) -> dict[str, Sequence[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in rows[2:]}


def test_each_way_costs_what_it_must(boxed: Detector, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(Detector, "load", lambda path: boxed)
    monkeypatch.setattr(sys, "argv", ["crops.py"])
    crops.run()
    text = capsys.readouterr().out
    assert text.startswith("2 test photos of `discs`. Their landmarks are 33% of the photo's largest square wide")
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    errors = table(text)
    eyes = 100 / float(np.linalg.norm((UNIT[0] - UNIT[1]) * SIZE))
    centre = (UNIT - 0.5) * SIZE
    scaled = f"{0.2 * float(np.linalg.norm(centre, axis=-1).mean()) * eyes:.2f}"
    whole = float(np.linalg.norm(UNIT * [200, 150] - UNIT * SIZE - CORNER, axis=-1).mean())
    default = f"{2 * math.sqrt(2) * eyes:.2f}"
    twice = f"{5 * math.sqrt(2) * eyes:.2f}"
    assert errors["as `prepare` cuts it, which `evaluate` measures"] == ["0.00", "0.0%", *["–"] * 4]
    assert errors["around the landmarks' box, `--box`"] == ["0.00", "0.0%", twice, "100.0%", default, "0.0%"]
    assert errors["around it, moved by 10 % of its width"][0] == f"{5 * eyes:.2f}"
    assert errors["around it, moved by 20 %"][0] == f"{10 * eyes:.2f}"
    assert errors["around it, 20 % too small"][0] == errors["around it, 20 % too large"][0] == scaled
    searched = float(np.linalg.norm(UNIT * [200, 150] + 2 - UNIT * SIZE - CORNER, axis=-1).mean())
    none = errors["without a box"]
    assert none[0] == f"{whole * eyes:.2f}" and none[4:] == [f"{searched * eyes:.2f}", "100.0%"]
    assert "Photos answered in a second without a box: `--no-refine` " in text.splitlines()[-1]


def test_without_landmarks_there_is_nothing_to_measure() -> None:
    index = Path("data/crops/test/index.csv")
    index.write_text(index.read_text().replace(",1,1", ",0,1"))
    with pytest.raises(BruleError, match="no image has landmarks"):
        crops.photos()
