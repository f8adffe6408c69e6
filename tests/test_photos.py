"""Photos of every kind become the pixels that a viewer shows, and anything else gets one sentence."""

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brule.data.photos import picture
from brule.data.schemes import Scheme
from brule.detector.model import Detector
from brule.detector.prediction import Prediction
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parent))
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
    return np.asarray(picture(photo, "it", None, 64).image)


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
