"""Real servers in processes of their own, and a small real detector for them."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from brule.data.schemes import Scheme
from brule.detector import model as detector
from brule.detector.prediction import Prediction
from brule.networks.hourglass import LandmarkEncoder

SOURCE = Path(detector.__file__).parents[2]
NAMES = ["left eye", "right eye", "mouth, or what is left of it"]
COMMAND = [sys.executable, "-m", "brule"]
PROXYLESS = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server(NamedTuple):
    """A process that answers at an address."""

    process: subprocess.Popen[str]
    address: str
    told: str = ""
    """What it printed before it was ready."""

    def ask(self, path: str = "/invocations", body: Any = None, method: str = "POST") -> tuple[int, Any]:
        """Status and JSON of the answer. A body other than bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with PROXYLESS.open(request, timeout=60) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Exit code and stderr."""
        self.process.send_signal(how)
        return self.process.wait(30), str(self.process.communicate()[1])


def surroundings(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **more}


def start(*words: str, cwd: Path, name: str = "serve", **more: str) -> Server:
    """`brule serve` with these words, at any free port; ready to answer. name: what to call the command; more:
    variables of its environment."""
    pipe, line = subprocess.PIPE, [*COMMAND, name, "--port", "0", *words]
    process = subprocess.Popen(
        line, cwd=cwd, env=surroundings(**more), stdout=pipe, stderr=pipe, text=True, preexec_fn=_listens
    )
    assert process.stdout is not None
    told = "".join(process.stdout.readline() for _ in range(4))
    assert told, process.communicate()[1]
    return Server(process, told.split()[0], told)


def _listens() -> None:
    """A shell that runs the tests in its background has told them to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_mlflow(model: str, cwd: Path) -> Server:
    """`mlflow models serve` of this model, which sees no brule but the copy in the model; ready to answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    env = surroundings(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", MLFLOW_DISABLE_TELEMETRY="true")
    del env["PYTHONPATH"]
    line = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "-p", str(port)]
    pipe, group = (
        subprocess.PIPE,
        {"start_new_session": True},
    )  # so that a signal reaches the processes that MLflow starts
    process = subprocess.Popen(line, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=pipe, text=True, **group)
    server, end = Server(process, f"http://127.0.0.1:{port}"), time.monotonic() + 300
    while process.poll() is None and time.monotonic() < end:
        try:
            PROXYLESS.open(f"{server.address}/ping", timeout=5).close()
            return server
        except OSError:
            time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail(process.communicate()[1])


def write_detector(path: Path, seed: int = 0) -> None:
    """A real encoder with random weights and peaked maps: it responds to every difference in its input."""
    torch.manual_seed(seed)
    sizes = {"stacks": 1, "width": 8, "depth": 2}
    encoder = LandmarkEncoder(3, 64, 16, **sizes)
    encoder.heads[0].weight.data.mul_(40)
    facts: dict[str, Any] = {"barycenter": np.zeros((3, 2)), "image_size": 64, "map_size": 16, "architecture": sizes}
    detector.save(path, encoder, scheme=Scheme.plain(NAMES), **facts)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def same(answer: dict[str, Any], found: Prediction) -> bool:
    """Bit for bit: JSON keeps every digit of a float."""
    assert answer.keys() == {"names", "points", "confidence", "plausibility"}
    points, confidence = np.array(answer["points"]), np.array(answer["confidence"], np.float32)
    return (
        answer["names"] == list(found.names)
        and np.array_equal(points, found.points)
        and np.array_equal(confidence, found.confidence)
        and answer["plausibility"] == found.plausibility
    )
