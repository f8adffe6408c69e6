"""Pictures small enough for a page."""

import io

from PIL import Image


def reduced(image: Image.Image, longest: int) -> Image.Image:
    """The image, or a smaller one whose longer side has `longest` pixels. It never copies the large one."""
    if max(image.size) <= longest:
        return image
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def jpeg(image: Image.Image, longest: int) -> bytes:
    """The bytes of a JPEG file, its longer side reduced to `longest` pixels if it is longer."""
    stream = io.BytesIO()
    reduced(image, longest).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()
