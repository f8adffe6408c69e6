"""One square for one object, and pixels that lie where the units say."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brule.data import crop
from brule.data.crop import Square, around, centred, cut, cut_file, to_units
from brule.errors import BruleError

BOX = np.array([[10.0, 20.0], [83.7, 20.0], [83.7, 80.0], [10.0, 80.0]])


def test_the_protocol_s_square():
    square = around(BOX, fill=0.737, lift=0.0385)
    assert square == pytest.approx((46.85 + 0.5, 50.5 - 0.0385 * 73.7, 100.0))
    units = to_units(BOX, square)
    assert np.ptp(units[:, 0]) == pytest.approx(0.737)
    assert units[:, 0].mean() == pytest.approx(0.5)
    assert units[:, 1].mean() == pytest.approx(0.5 + 0.0385 * 0.737)


def test_the_square_follows_scale_and_shift():
    small = to_units(BOX, around(BOX, 0.737, 0.0385))
    large = BOX * 3 + [100, -50]
    np.testing.assert_allclose(to_units(large, around(large, 0.737, 0.0385)), small, atol=1e-12)


def test_a_tall_box_stays_inside():
    tall = np.array([[0.0, 0.0], [10.0, 100.0]])
    units = to_units(tall, around(tall, 0.737, 0.0))
    assert units.min() >= 0
    assert units.max() <= 1
    units = to_units(tall, around(tall, 0.737, 0.0, height=0.8))
    assert units[:, 1] == pytest.approx([0.1, 0.9])
    assert around(BOX, 0.737, 0.0385, height=0.9) == around(BOX, 0.737, 0.0385)


def test_landmarks_above_one_another_frame_nothing():
    with pytest.raises(BruleError, match="no width"):
        around(np.array([[5.0, 1.0], [5.0, 9.0]]), 0.737, 0.0)


def test_units_are_half_pixel_centres():
    whole = centred(64, 64)
    np.testing.assert_allclose(
        to_units(np.array([[0.0, 0.0], [63.0, 31.0]]), whole), [[0.5 / 64] * 2, [63.5 / 64, 31.5 / 64]]
    )
    assert centred(100, 60) == (50, 30, 60)


def blob(size: tuple[int, int], x: float, y: float) -> Image.Image:
    columns, rows = np.arange(size[0]), np.arange(size[1])
    bright = np.exp(-((columns[None] - x) ** 2 + (rows[:, None] - y) ** 2) / 2 / 6**2)
    return Image.fromarray(np.rint(np.repeat(255 * bright[..., None], 3, axis=2)).astype(np.uint8))


def centre(pixels: np.ndarray) -> np.ndarray:
    """Centre of brightness in crop units."""
    weight = pixels[..., 0].astype(float)
    steps = (np.arange(len(weight)) + 0.5) / len(weight)
    return np.array([(weight * steps).sum(), (weight * steps[:, None]).sum()]) / weight.sum()


@pytest.mark.parametrize("square", [Square(150, 120, 100.5), Square(161.3, 118.6, 140), Square(150.5, 110.25, 61)])
def test_a_dot_lies_where_its_landmark_says(square: Square):
    dot = np.array([[152.3, 117.8]])
    pixels = cut(blob((300, 240), *dot[0]), square, 64)
    assert pixels.shape == (64, 64, 3)
    np.testing.assert_allclose(centre(pixels), to_units(dot, square)[0], atol=0.002)


def test_borders_are_reflected():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    pixels = cut(image, Square(20, 20, 60), 60)
    inside = np.asarray(image)
    np.testing.assert_array_equal(pixels[10:50, 10:50], inside)
    np.testing.assert_array_equal(pixels[10:50, :10], inside[:, 9::-1])
    np.testing.assert_array_equal(pixels[50:, 10:50], inside[:-11:-1])


@pytest.mark.parametrize("seed", range(20))
def test_of_a_vast_photo_only_what_the_square_needs_is_reflected(seed: int, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(seed)
    # Smooth, since PIL filters rows or columns first, whichever is less work, and rounds between the two.
    image = Image.fromarray(rng.integers(0, 256, (12, 17, 3), dtype=np.uint8)).resize((130, 90))
    squares = [Square(*rng.uniform((-20, -20, 5), (150, 110, 150))) for _ in range(30)]

    def every() -> list[np.ndarray | None]:
        return [cut(image, each, 16) if reachable(each, image) else None for each in squares]

    whole = every()
    monkeypatch.setattr(crop, "VAST", 0)
    for one, other in zip(whole, every(), strict=True):
        assert one is None or other is None or np.abs(one.astype(int) - other).max() <= 3


def reachable(square: Square, image: Image.Image) -> bool:
    half = square.side / 2
    across = -image.width < square.x - half and square.x + half < 2 * image.width
    return across and -image.height < square.y - half and square.y + half < 2 * image.height


def test_a_face_outside_the_image_is_refused(tmp_path: Path):
    blob((50, 50), 20, 20).save(tmp_path / "a.png")
    with pytest.raises(BruleError, match=r"a\.png: the object lies outside the image"):
        cut_file(tmp_path / "a.png", Square(1e6, 20, 30), 32)


def test_an_object_too_wide_for_its_image_is_not_said_to_lie_outside(tmp_path: Path):
    Image.new("RGB", (300, 90)).save(tmp_path / "a.png")
    with pytest.raises(BruleError, match=r"a\.png: the square around the object reaches too far beyond the image"):
        cut_file(tmp_path / "a.png", Square(150, 45, 280), 32)
    cut_file(tmp_path / "a.png", Square(150, 45, 270), 32)  # one reflection suffices


def test_a_large_jpeg_decoded_at_a_fraction_keeps_its_place(tmp_path: Path):
    dot = np.array([[701.0, 523.0]])
    columns, rows = np.arange(1403), np.arange(1011)
    bright = 255 * np.exp(-((columns[None] - dot[0, 0]) ** 2 + (rows[:, None] - dot[0, 1]) ** 2) / 2 / 60**2)
    image = Image.fromarray(bright.astype(np.uint8)).convert("RGB")
    image.save(tmp_path / "a.jpg", quality=95)
    square = Square(690, 530, 800)
    fast, slow = cut_file(tmp_path / "a.jpg", square, 64), cut(image, square, 64)
    np.testing.assert_allclose(centre(fast), to_units(dot, square)[0], atol=0.002)
    assert np.abs(fast.astype(int) - slow).max() <= 4


GREY = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))


@pytest.mark.parametrize("kind", ["L", "P", "1", "LA", "RGBA", "CMYK", "I;16", "L.jpg", "webp", "bmp", "tif"])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, kind: str):
    grey = Image.fromarray(GREY)
    path = tmp_path / {"CMYK": "a.tif", "L.jpg": "a.jpg", "webp": "a.webp", "bmp": "a.bmp", "tif": "a.tif"}.get(
        kind, "a.png"
    )
    match kind:
        case "I;16":
            Image.fromarray(GREY.astype(np.uint16) * 257).save(path)
        case "webp":
            grey.convert("RGB").save(path, lossless=True)
        case "L" | "L.jpg" | "bmp" | "tif":
            grey.save(path)
        case "P":
            grey.quantize(256).save(path)
        case _:
            grey.convert("RGB").convert(kind).save(path)
    pixels = cut_file(path, None, 64)
    assert pixels.shape == (64, 64, 3)
    if kind != "1":
        assert np.abs(pixels.astype(int) - GREY[..., None]).max() <= 6


def test_transparency_lies_on_white(tmp_path: Path):
    clear = np.zeros((64, 64, 4), dtype=np.uint8)
    clear[:32, :, 3] = 255
    Image.fromarray(clear).save(tmp_path / "a.png")
    pixels = cut_file(tmp_path / "a.png", None, 64)
    assert pixels[:30].max() == 0
    assert pixels[34:].min() == 255


def test_the_camera_s_orientation_is_honoured(tmp_path: Path):
    image = Image.fromarray(np.repeat(GREY[..., None], 3, axis=2))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90° clockwise
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(cut_file(tmp_path / "a.png", None, 64)[..., 0], np.rot90(GREY, -1))


def test_unreadable_images_get_one_sentence(tmp_path: Path):
    blob((200, 200), 90, 90).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "huge.png").write_bytes(_png_header(60000, 60000))
    Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(tmp_path / "float.tif")
    for name in ("cut.jpg", "text.jpg", "empty.png", "missing.png", "huge.png", "float.tif"):
        with pytest.raises(BruleError, match=f"{name}: ") as error:
            cut_file(tmp_path / name, None, 32)
        assert "\n" not in str(error.value)


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
