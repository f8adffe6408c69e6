"""Photos of every kind become the pixels that a viewer shows; what is none becomes one sentence, whatever its bytes."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brule.data.schemes import Scheme
from brule.detector import Detector
from brule.errors import BruleError
from brule.photos import picture
from brule.prediction import Prediction

WIDTH, HEIGHT = 60, 44


class Mean(nn.Module):
    """Answers something finite, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.cat((images.mean(1, keepdim=True), images[:, :1]), 1) + self.bias]


DETECTOR = Detector(Mean(), np.full((2, 2), 0.5, np.float32), Scheme.plain(["a", "b"]), 64, 64)


def scene(seed: int = 0) -> Image.Image:
    """Smooth colours with a little noise: every format has something to do."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(seed).integers(0, 20, (HEIGHT, WIDTH, 3))
    return Image.fromarray((np.stack([3 * x, 4 * y, 60 + x + y], -1) + noise).astype(np.uint8))


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
@pytest.mark.parametrize("refine", [False, True])
def test_points_lie_inside_the_square_of_photos_of_any_size(size: tuple[int, int], refine: bool) -> None:
    found = DETECTOR.predict(Image.new("RGB", size, "teal"), refine=refine).points
    assert np.isfinite(found).all()
    if not refine:
        assert (np.abs(found + 0.5 - np.array(size) / 2) <= min(size) / 2).all()


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"\0", *extra: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def files() -> Iterator[tuple[str, bytes]]:
    """Whole files of every format, and what accidents make of them."""
    exif = Image.Exif()
    exif[274] = 6
    palette = scene().quantize(16)
    whole = {
        "jpg": encoded(scene(), "JPEG", exif=exif),
        "progressive.jpg": encoded(scene(), "JPEG", progressive=True),
        "cmyk.jpg": encoded(scene().convert("CMYK"), "JPEG"),
        "png": encoded(scene(), "PNG", exif=exif),
        "palette.png": encoded(palette, "PNG", transparency=3),
        "16.png": encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
        "gif": encoded(palette, "GIF", save_all=True, append_images=[scene(1).quantize(16)]),
        "webp": encoded(scene(), "WEBP", exif=exif),
        "tif": encoded(scene(), "TIFF", exif=exif),
        "lzw.tif": encoded(scene(), "TIFF", compression="tiff_lzw"),
        "bmp": encoded(scene(), "BMP"),
        "ico": encoded(scene(), "ICO"),
        "ppm": encoded(scene(), "PPM"),
    }
    rng = np.random.default_rng(0)
    for name, data in whole.items():
        yield f"whole.{name}", data
        for share in (0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 0.99):
            yield f"cut-{share}.{name}", data[: int(share * len(data)) + 1]
        for count in (1, 4, 30, 200):
            noisy = np.frombuffer(data, np.uint8).copy()
            noisy[rng.integers(0, len(noisy), count)] = rng.integers(0, 256, count)
            yield f"noisy-{count}.{name}", noisy.tobytes()
        yield f"headless.{name}", data[8:]
        yield f"hole.{name}", data[:20] + bytes(len(data) - 20)
    yield "empty.jpg", b""
    yield "text.jpg", b"no image at all\n" * 50
    yield "page.png", b"<html><body>404</body></html>"
    yield "zeros.tif", bytes(10_000)
    yield "huge.png", png(60_000, 60_000)
    yield "claims-much.png", png(2**31 - 1, 2**31 - 1)
    yield "flat.png", png(0, 5)
    yield "short.png", png(50, 50)
    yield "bomb.png", png(8, 8, 8, 2, bytes(200), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000))))
    yield "depth.png", png(8, 8, 3, 2)
    yield "huge.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "huge.ppm", b"P6 100000 100000 255\n123"
    yield "float.tif", encoded(Image.fromarray(np.full((5, 5), np.nan, np.float32)), "TIFF")


FILES = dict(files())


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
def test_what_is_no_photo_is_one_sentence(name: str, tmp_path: Path) -> None:
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
