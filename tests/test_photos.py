"""Photos of every kind become the pixels that a viewer shows, and anything else gets one sentence."""

import base64
import io
import json
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image
from torch import Tensor, nn

from brule.app import page
from brule.app.sheet import opened
from brule.data import photos
from brule.data.crop import cut_file
from brule.data.layouts import celeba_crop
from brule.data.photos import picture
from brule.data.schemes import Scheme
from brule.detector.model import Detector
from brule.detector.prediction import Prediction
from brule.detector.protocol import respond
from brule.errors import BruleError
from brule.stages.survey import survey

sys.path.insert(0, str(Path(__file__).parent))
import mangled
from mangled import FILES, HEIGHT, WIDTH, scene


class Mean(nn.Module):
    """Answers something finite, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.cat((images.mean(1, keepdim=True), images[:, :1]), 1) + self.bias]


DETECTOR = Detector(Mean(), np.full((2, 2), 0.5, np.float32), Scheme.plain(["a", "b"]), 64, 64)


def seen(photo: Any) -> np.ndarray:
    with picture(photo, "it", None, 64) as read:
        return np.asarray(read.image)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


GREY = np.asarray(scene().convert("L"))
RGB = np.asarray(scene())


@pytest.mark.parametrize(
    "array",
    [
        GREY,
        GREY[..., None],
        np.repeat(GREY[..., None], 3, 2),
        np.dstack([GREY] * 3 + [np.full_like(GREY, 255)]),
        GREY.astype(np.uint16) * 257,
        np.repeat(GREY[..., None], 3, 2).astype(">u2") * 257,
        np.asfortranarray(GREY),
        np.repeat(np.repeat(GREY[..., None], 3, 2), 2, 1)[:, ::2],
    ],
)
def test_grey_is_rgb_grey_in_every_form_of_array(array: np.ndarray) -> None:
    np.testing.assert_array_equal(seen(array), np.repeat(GREY[..., None], 3, 2))


@pytest.mark.parametrize(
    "mode", ["L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "RGBa", "1"]
)
def test_every_mode_of_pil_is_answered(mode: str) -> None:
    image = (
        Image.fromarray(GREY.astype(np.uint16) * 257)
        if mode.startswith("I")
        else scene().convert(_via(mode)).convert(mode)
    )
    shown = seen(image)
    assert shown.shape == (HEIGHT, WIDTH, 3) and shown.dtype == np.uint8
    expected = GREY[..., None] if mode in ("L", "LA", "PA", "I", "I;16") else RGB
    if mode not in ("1", "P"):
        assert np.abs(shown.astype(int) - expected).mean() < 12
    assert isinstance(DETECTOR.predict(image), Prediction)


def _via(mode: str) -> str:
    """Two steps where PIL knows no single one."""
    return {"RGBa": "RGBA", "LA": "L", "PA": "L"}.get(mode, "RGB")


def test_of_an_animation_the_first_frame_is_seen(tmp_path: Path) -> None:
    frames = [scene(seed).quantize(64) for seed in range(3)]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if "webp" in name else {})
        )
        np.testing.assert_array_equal(seen(tmp_path / name), np.asarray(frames[0].convert("RGB")))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_a_turned_photo_has_one_size_however_it_is_asked_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (60, 40)).save(path, exif=turned())
    with photos.read(path, None, None) as whole:
        assert photos.size(path) == whole.size == whole.image.size == (40, 60)


def test_a_photo_beyond_pil_s_warning_is_answered_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(DETECTOR.predict(tmp_path / "a.png"), Prediction)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 500), (500, 1), (3, 3), (64, 64), (701, 13)])
@pytest.mark.parametrize("refine", [False, True, None])
def test_points_lie_inside_the_square_of_photos_of_any_size(size: tuple[int, int], refine: bool | None) -> None:
    found = DETECTOR.predict(Image.new("RGB", size, "teal"), refine=refine).points
    assert np.isfinite(found).all()
    if refine is False:
        assert (np.abs(found + 0.5 - np.array(size) / 2) <= min(size) / 2).all()


@pytest.mark.parametrize("name", FILES)
def test_any_file_is_answered_or_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    try:
        found = DETECTOR.predict(path, refine=True)
    except BruleError as error:
        assert not name.startswith("whole")
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < 400
    else:
        assert np.isfinite(found.points).all()
        assert name.startswith(("whole", "cut", "noisy", "hole", "bomb"))


DOORS: dict[str, Callable[[Path], object]] = {
    "predict": DETECTOR.predict,
    "prepare": lambda path: cut_file(path, None, 64),
    "brule new": lambda path: survey(path.parent),
    "brule shapes": lambda path: opened(path, "it"),
    "brule serve": lambda path: page.read(path.read_bytes(), "it"),
    "MLflow": lambda path: respond(
        DETECTOR, json.dumps({"inputs": [{"image": base64.b64encode(path.read_bytes()).decode()}]}).encode()
    ),
    "celeba": celeba_crop,
    "labels": photos.size,
}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_runs_a_program_that_calls_itself_a_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append(door) or scene().im)
    (tmp_path / "a.jpg").write_bytes(FILES["program.jpg"])
    with pytest.raises(BruleError, match=r"readable image|its size cannot be read"):
        DOORS[door](tmp_path / "a.jpg")
    assert not started


TAKING_TURNS = """
import sys, threading
from pathlib import Path
from brule.data import photos
from brule.data.crop import cut_file
def memory(what):  # VmHWM: the peak; VmRSS: now
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(what))
photos._MEMORY = photos._Memory(int(sys.argv[1]))
before = memory("VmHWM")
threads = [threading.Thread(target=cut_file, args=(Path(path), None, 64)) for path in sys.argv[2:]]
[each.start() for each in threads]
[each.join() for each in threads]
print(memory("VmHWM") - before, memory("VmRSS") - before)
"""


def test_large_photos_take_turns_and_give_their_memory_back(tmp_path: Path) -> None:
    path, allowed = tmp_path / "a.png", 300 * 2**20
    Image.new("RGBA", (2000, 2000), 128).save(path, compress_level=1)  # 8 bytes a pixel, and 12 are counted
    line = [sys.executable, "-c", TAKING_TURNS, str(allowed), *[str(path)] * 10]
    # glibc would keep some of what is freed, now more and now less: with this, large blocks go back to the system
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    told = subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout
    peak, left = map(int, told.split())
    assert 100 * 2**20 < peak < allowed
    assert left < 32 * 2**20


COUNTING = """
import os, sys
from pathlib import Path
from brule.data import photos
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
with photos.read(Path(sys.argv[1]), None, None):  # whatever is loaded only once
    pass
for path in map(Path, sys.argv[2:]):
    if not os.fork():
        need = []
        counted = photos._need
        photos._need = lambda *given: need.append(counted(*given)) or need[0]
        before = peak()
        with photos.read(path, None, None):
            print(path.name, need[0], peak() - before, flush=True)
        os._exit(0)
    os.wait()
"""
KINDS: dict[str, dict[str, Any]] = {
    "rgb.png": {},
    "rgba.png": {},
    "i;16.png": {},
    "la.png": {},
    "p.png": {"transparency": 3},
    "rgb.jpg": {"subsampling": 0, "progressive": True},
    "cmyk.jpg": {},
    "rgb.bmp": {},
    "rgb.ppm": {},
    "rgb.tga": {"compression": "tga_rle"},
    "p.gif": {},
    "rgb.tif": {"compression": "tiff_lzw", "strip_size": 2**30},
    "rgba.tif": {},
    "rgb.webp": {"lossless": True, "method": 0},
    "rgba.webp": {"lossless": True, "method": 0},
    "rgb.jp2": {},
    "rgb.avif": {"speed": 10},
}


def test_no_photo_takes_more_memory_than_is_counted(tmp_path: Path) -> None:
    side = 1024
    for name, how in KINDS.items():
        mode = name.partition(".")[0].upper()
        image = Image.new(mode, (side, side))
        image.save(tmp_path / name, exif=turned() if "png" not in name else b"", **how)
    scene().save(tmp_path / "small.png")
    paths = [str(tmp_path / name) for name in ("small.png", *KINDS)]
    told = subprocess.run([sys.executable, "-c", COUNTING, *paths], capture_output=True, text=True, check=True).stdout
    found = {line.split()[0]: tuple(map(int, line.split()[1:])) for line in told.splitlines()}
    assert found.keys() == KINDS.keys()
    noise = 3 * 2**20
    assert not {name: taken for name, (need, taken) in found.items() if taken > need + noise}


def test_a_small_file_of_a_vast_photo_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(mangled.png(13_000, 13_000, 8, 6))  # its pixels are missing: nothing looks at them
    words = r"a\.png: has 13000x13000 pixels, which take 1\.9 GB to decode, but photos may take 1 GB; reduce it"
    with pytest.raises(BruleError, match=words):
        DETECTOR.predict(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(mangled.png(60_000, 60_000))
    with pytest.raises(BruleError, match=r"b\.png: has 3600 million pixels, but at most 178 are decoded; reduce it"):
        DETECTOR.predict(tmp_path / "b.png")
    scene().save(tmp_path / "c.png")
    found = list(DETECTOR.predictions([tmp_path / "a.png", tmp_path / "c.png"], [None, None], None, 2))
    assert isinstance(found[0], BruleError) and isinstance(found[1], Prediction)


def test_a_large_jpeg_needs_little_where_little_of_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene().save(tmp_path / "a.jpg")
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 13_000, 13_000)  # of which the file holds only the beginning
    (tmp_path / "a.jpg").write_bytes(data)
    monkeypatch.setattr(photos, "LIMIT", 2**24)
    with photos.read(tmp_path / "a.jpg", None, 64) as read:
        assert (read.size, read.factor, read.image.size) == ((13_000, 13_000), 8, (1625, 1625))
    with (
        pytest.raises(BruleError, match=r"a\.jpg: has 13000x13000 pixels"),
        photos.read(tmp_path / "a.jpg", None, None),
    ):
        pass


def test_strips_are_converted_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    palette = scene().quantize(16)
    palette.info["transparency"] = 3
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    kinds = [palette, deep, *(scene().convert(mode) for mode in ("L", "1", "RGBA", "CMYK", "P", "YCbCr"))]
    whole = [np.asarray(photos.rgb(image)) for image in kinds]
    monkeypatch.setattr(photos, "_STRIP", 7 * WIDTH)
    for image, expected in zip(kinds, whole, strict=True):
        np.testing.assert_array_equal(photos.rgb(image), expected)


WRONG: dict[str, Any] = {
    "NaN": np.full((8, 8, 3), np.nan),
    "float": np.zeros((8, 8, 3), np.float32),
    "int64": np.zeros((8, 8, 3), np.int64),
    "bool": np.zeros((8, 8), bool),
    "uint32": np.zeros((8, 8), np.uint32),
    "objects": np.full((8, 8), None),
    "complex": np.zeros((8, 8), complex),
    "words": np.full((8, 8), "a"),
    "no pixels": np.zeros((0, 8, 3), np.uint8),
    "one axis": np.zeros(8, np.uint8),
    "no axis": np.array(3, np.uint8),
    "two channels": np.zeros((8, 8, 2), np.uint8),
    "channels first": np.zeros((3, 8, 8), np.uint8),
    "five axes": np.zeros((1, 1, 8, 8, 3), np.uint8),
    "an empty image": Image.new("RGB", (0, 4)),
    "floats of PIL": Image.new("F", (4, 4)),
    "None": None,
    "a number": 7,
    "bytes": b"photo.jpg",
    "a stream": [io.BytesIO(FILES["whole.png"])],
    "a missing file": "no/such/photo.jpg",
    "a folder": ".",
    "a path beyond length": "x" * 5000,
    "a path with a zero": "a\0b.jpg",
    "an empty path": "",
    "a mixed list": [GREY, None],
    "a closed image": "closed",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_a_photo_gets_one_sentence(name: str, tmp_path: Path) -> None:
    wrong = WRONG[name]
    if name == "a closed image":
        scene().save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as wrong:
            pass
    with pytest.raises(BruleError, match=r"give|there is no such file") as caught:
        DETECTOR.predict(wrong)
    assert "\n" not in str(caught.value)


def test_among_several_the_one_at_fault_is_named() -> None:
    with pytest.raises(BruleError, match=r"^image 2: an array of shape \(8,\)"):
        DETECTOR.predict([GREY, RGB, np.zeros(8, np.uint8)])
