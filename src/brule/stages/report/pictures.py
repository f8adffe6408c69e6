"""The pictures of a run, inside the page: no file beside it, nothing to fetch."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from brule.stages.report.findings import Findings
from brule.stages.report.html import Html, prose, tag

PLACES = {
    "barycenter": "barycenter.png",
    "ced": "figures/ced.png",
    "overlays": "figures/overlays.png",
    "samples": "figures/samples.png",
    "history": "figures/history.png",
    "tuning": "figures/tuning.png",
}
"""The names of the pictures → where they lie below results/. `training`: the last of results/samples."""
LARGE = 700_000
"""Bytes of a PNG above which it is put in as WebP: seven smaller ones make a page of at most 6 MB."""
_LONGEST = (2400, 4800)


def gather(results: Path) -> dict[str, bytes]:
    """The PNGs that a run left below results/."""
    places = {name: results / place for name, place in PLACES.items()}
    drawn = sorted((results / "samples").glob("*.png"))
    places |= {"training": drawn[-1]} if drawn else {}
    return {name: path.read_bytes() for name, path in places.items() if path.is_file()}


def figure(run: Findings, name: str, alt: str, caption: str, wide: bool = False) -> Html:
    """A picture with its caption; nothing where there is none. A wide one scrolls sideways on a narrow screen."""
    if name not in run.pictures:
        return Html()
    data, kind, (width, height) = _embedded(run.pictures[name])
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    image = tag("img", src=address, alt=alt, width=str(width), height=str(height))
    sheet = tag("div", image, class_="sheet wide" if wide else "sheet")
    return tag("figure", sheet, tag("figcaption", prose(caption)))


def _embedded(png: bytes) -> tuple[bytes, str, tuple[int, int]]:
    """(bytes, format, (width, height)): a PNG as it is, or a large one smaller, as WebP."""
    with Image.open(io.BytesIO(png)) as picture:
        if len(png) <= LARGE:
            return png, "png", picture.size
        small = picture.convert("RGB")
    small.thumbnail(_LONGEST, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=88, method=4)
    return stream.getvalue(), "webp", small.size
