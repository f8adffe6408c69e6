"""A small detector with its GAN, a few photos, and their server on a port of its own."""

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from brule.app import detecting, server
from brule.app.page import Page
from brule.app.samples import offered
from brule.data.schemes import Scheme
from brule.detector import gan
from brule.detector import model as detector
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.networks.generator import Generator
from brule.networks.hourglass import LandmarkEncoder
from brule.networks.style import NoiseToStyle, StyleEncoder

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import PROXYLESS

SCHEME = Scheme(("left_eye", "right_eye", "nose <b>", "mouth"), (1, 0, 2, 3), (0, 1), ((0, 1), (2, 3)))
MODEL: dict[str, Any] = {
    "condition_sigma": 1.25,
    "map_size": 16,
    "generator": {"width": 4, "max_width": 8},
    "style": {"size": 8, "width": 4, "latent": 8, "depth": 2, "mixing": 0.9},
}


def photo(path: Path, size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Path:
    """A noisy gradient, in which no two places look alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([255 * x / size[0], 255 * y / size[1], rng.uniform(0, 255, x.shape)], -1)
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with detector.safetensors, gan.safetensors and two photos in photos/."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    sizes = {"stacks": 1, "width": 8, "depth": 2}
    encoder = LandmarkEncoder(4, 64, 16, **sizes)
    encoder.heads[0].weight.data.mul_(40)
    facts: dict[str, Any] = {"barycenter": np.full((4, 2), 0.5), "image_size": 64, "map_size": 16}
    detector.save(folder / "detector.safetensors", encoder, scheme=SCHEME, architecture=sizes, **facts)
    networks = {
        "generator": Generator(4, 64, 16, 8, 4, 8),
        "style": StyleEncoder(64, 8, 4),
        "noise_to_style": NoiseToStyle(8, 8, 2),
    }
    gan.save(folder / "gan.safetensors", networks, landmarks=4, image_size=64, model=MODEL, iterations=9)
    (folder / "photos").mkdir()
    photo(folder / "photos" / "a.png", (120, 90))
    photo(folder / "photos" / "b.jpg", (80, 100), seed=1)
    return folder


@pytest.fixture(scope="session")
def page(models: Path) -> Page:
    known = Detector.load(models / "detector.safetensors")
    return Page(known, Gan.load(models / "gan.safetensors"), offered(known, models / "photos"))


@dataclass
class Site:
    """A running server."""

    address: str

    @property
    def port(self) -> int:
        return int(self.address.strip("/").rpartition(":")[2])

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or bytes, headers), whatever the status. Content_Type="…" sends Content-Type."""
        if data is not None:
            kind = "octet-stream" if path.startswith("landmarks") else "json"
            headers = {"Content_Type": f"application/{kind}"} | headers
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.address}{path}", data, named)
        try:
            answer = PROXYLESS.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        body, told = answer.read(), {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, json.loads(body) if "json" in told["content-type"] else body, told


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[[ASGIApp], Site]]:
    """`served(application)`: its server, on any free port, until the tests end."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(application: ASGIApp) -> Site:
        listener = server.bind(0)
        one = uvicorn.Server(server.configuration(application, "critical"))
        thread = threading.Thread(target=one.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((one, thread))
        while not one.started:
            time.sleep(0.01)
        return Site(f"{server.address(listener)}/")

    yield start
    for one, thread in running:
        one.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def opened(served: Callable[[ASGIApp], Site]) -> Callable[[Page], Site]:
    """`opened(page)`: the server of a detector's page."""
    return lambda page: served(detecting.application(page))


@pytest.fixture(scope="session")
def site(opened: Callable[[Page], Site], page: Page) -> Site:
    return opened(page)
