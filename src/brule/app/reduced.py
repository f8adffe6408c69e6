"""A picture as a JPEG, small enough for a page."""

import io

from PIL import Image


def jpeg(image: Image.Image, longest: int) -> bytes:
    """The bytes of a JPEG file, its longer side reduced to `longest` pixels if it is longer."""
    reduced, stream = image.copy(), io.BytesIO()
    reduced.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    reduced.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()
