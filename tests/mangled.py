"""Image files of every format, whole, damaged or malicious: the same ones every time."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 60, 44


def scene(seed: int = 0) -> Image.Image:
    """Smooth colours with a little noise, so that every format has something to encode."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(seed).integers(0, 20, (HEIGHT, WIDTH, 3))
    return Image.fromarray((np.stack([3 * x, 4 * y, 60 + x + y], -1) + noise).astype(np.uint8))


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
    """Whole files of every format, and what can go wrong with them."""
    exif = Image.Exif()
    exif[274] = 6
    palette = scene().quantize(16)
    whole = {
        "jpg": encoded(scene(), "JPEG", exif=exif),
        "progressive.jpg": encoded(scene(), "JPEG", progressive=True),
        "cmyk.jpg": encoded(scene().convert("CMYK"), "JPEG"),
        "png": encoded(scene(), "PNG", exif=exif),
        "palette.png": encoded(palette, "PNG", transparency=3),
        "16.png": encoded(Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257), "PNG"),
        "gif": encoded(palette, "GIF", save_all=True, append_images=[scene(1).quantize(16)]),
        "webp": encoded(scene(), "WEBP", exif=exif),
        "tif": encoded(scene(), "TIFF", exif=exif),
        "lzw.tif": encoded(scene(), "TIFF", compression="tiff_lzw"),
        "bmp": encoded(scene(), "BMP"),
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
    frames = [scene(seed) for seed in range(3)]
    yield "whole.animated.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    yield "whole.animated.png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield "whole.pixel.png", encoded(scene().resize((1, 1)), "PNG")
    yield "whole.line.jpg", encoded(scene().resize((700, 1)), "JPEG")
    yield "whole.large.jpg", encoded(scene().resize((1501, 1003)), "JPEG")
    yield "icon.png", encoded(scene(), "ICO")
    yield "program.jpg", encoded(scene(), "EPS")
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
