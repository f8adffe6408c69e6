"""POST /invocations: the detector's own answers, bit for bit, and one sentence about anything bad."""

import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brule.cli import command
from brule.detector.model import Detector
from brule.detector.prediction import Prediction
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parents[1]))
from mangled import FILES, scene
from servers import Server, encoded, same, start, surroundings, write_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "detector.safetensors"
    write_detector(path)
    return path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    running = start("--model", model.name, cwd=model.parent)
    yield running
    assert running.process.poll() is None, "it has survived everything that these tests sent"
    code, told = running.end(signal.SIGINT)
    assert code == 130 and "Traceback" not in told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the mangled files."""
    path = tmp_path_factory.mktemp("mangled")
    for name, data in FILES.items():
        (path / name).write_bytes(data)
    return path


@pytest.fixture(scope="module")
def expected(model: Path, folder: Path) -> dict[str, Prediction | str]:
    """What `Detector.predict` says of each mangled file: landmarks, or a sentence without the file's name."""
    detector, found = Detector.load(model), dict[str, Prediction | str]()
    for name in FILES:
        try:
            found[name] = detector.predict(folder / name)
        except BruleError as error:
            found[name] = str(error).removeprefix(f"{folder / name}: ")
    return found


def test_the_answers_are_those_of_the_detector(server: Server, model: Path, folder: Path) -> None:
    detector = Detector.load(model)
    pixels = np.asarray(scene(5))
    paths = [folder / f"whole.{name}" for name in ("jpg", "large.jpg", "16.png", "animated.webp")]
    known = {"box": [20, 10, 24.5, 18], "refine": True}
    inputs = [{"image": encoded(path.read_bytes()), **extra} for path in paths for extra in ({}, known)]
    inputs += [{"pixels": pixels.tolist()}, {"pixels": pixels[..., :1].tolist(), "box": None, "refine": None, **known}]
    inputs += [{"image": f"data:image/png;base64,{encoded(FILES['whole.png'])}"}]
    status, reply = server.ask(body={"inputs": inputs})
    assert status == 200 and reply.keys() == {"predictions"}
    wanted = [detector.predict(path, *how) for path in paths for how in ((), (known["box"], True))]
    wanted += [detector.predict(pixels), detector.predict(pixels[..., :1], known["box"], True)]
    wanted += [detector.predict(folder / "whole.png")]
    assert len(reply["predictions"]) == len(wanted)
    assert all(same(answer, found) for answer, found in zip(reply["predictions"], wanted, strict=True))
    assert len({str(answer["points"]) for answer in reply["predictions"]}) > 8, "they differ among each other"


def test_mangled_files_cost_the_server_one_sentence_each(server: Server, expected: dict[str, Any]) -> None:
    assert len(FILES) >= 200
    for name, data in FILES.items():
        status, reply = server.ask(body={"inputs": [{"image": encoded(data)}]})
        if isinstance(expected[name], str):
            assert (status, reply) == (400, {"error": f"inputs[0]: {expected[name]}"}), name
        else:
            assert status == 200 and same(reply["predictions"][0], expected[name]), name


def test_mangled_files_cost_the_command_one_line_each(
    folder: Path, model: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["brule", "predict", *FILES, "--model", str(model)])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    assert exit_.value.code == 1
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if not re.search("Finding landmarks|trained on", line)]
    assert lines == [f"{name}: {what}" for name, what in expected.items() if isinstance(what, str)]
    answered = [name for name, what in expected.items() if not isinstance(what, str)]
    rows = [line.split(",")[0] for line in told.out.splitlines()[1:]]
    assert rows == [name for name in answered for _ in range(3)] and len(answered) > 30


IMAGE = encoded(FILES["whole.png"])
BAD: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "the request: invalid JSON: EOF"),
    "no JSON": (b"photo.jpg", "the request: invalid JSON"),
    "no UTF-8": (b'{"inputs": [{"image": "\xff"}]}', "the request: invalid JSON"),
    "cut off": (b'{"inputs": [{"image": "iVBO', "the request: invalid JSON: EOF"),
    "an image, bare": (FILES["whole.png"], "the request: invalid JSON"),
    "a list": ([{"image": IMAGE}], 'the request: input should be an object; send {"inputs"'),
    "null": (b"null", "the request: input should be an object"),
    "other words of MLflow": ({"instances": [{"image": IMAGE}]}, "inputs: field required"),
    "inputs a number": ({"inputs": 7}, "inputs: input should be a valid array"),
    "an input a string": ({"inputs": [IMAGE]}, "inputs[0]: input should be an object"),
    "no photo": ({"inputs": [{"image": IMAGE}, {"refine": True}]}, "inputs[1]: give either image"),
    "two photos": ({"inputs": [{"image": IMAGE, "pixels": [[[1]]]}]}, "inputs[0]: give either image"),
    "an unknown key": ({"inputs": [{"image": IMAGE, "boxes": [1]}]}, "inputs[0]: 'boxes' is not one of image, "),
    "an image a number": ({"inputs": [{"image": 7}]}, "inputs[0].image: input should be a valid string; give an"),
    "no base64": ({"inputs": [{"image": "photo.jpg"}]}, "inputs[0].image: is not base64; encode an image file"),
    "umlauts": ({"inputs": [{"image": "äöü"}]}, "inputs[0].image: is not base64"),
    "an empty image": ({"inputs": [{"image": ""}]}, "inputs[0]: is not a readable image"),
    "base64 of a text": ({"inputs": [{"image": "aGVsbG8="}]}, "inputs[0]: is not a readable image"),
    "a box of three": ({"inputs": [{"image": IMAGE, "box": [1, 2, 3]}]}, "inputs[0].box: list should have at least 4"),
    "a box of words": ({"inputs": [{"image": IMAGE, "box": [1, 2, 3, "4"]}]}, "inputs[0].box[3]: input should be"),
    "a box of NaN": (f'{{"inputs": [{{"image": "{IMAGE}", "box": [NaN, 1, 2, 3]}}]}}'.encode(), "inputs[0]: the box"),
    "a box without width": ({"inputs": [{"image": IMAGE, "box": [1, 1, 0, 1]}]}, "inputs[0]: the box [1.0, 1.0, 0.0"),
    "a box elsewhere": ({"inputs": [{"image": IMAGE, "box": [9e5, 1, 9, 9]}]}, "inputs[0]: the object lies outside"),
    "refine a word": ({"inputs": [{"image": IMAGE, "refine": "yes"}]}, "inputs[0].refine: input should be a valid"),
    "pixels a word": ({"inputs": [{"pixels": "red"}]}, "inputs[0].pixels: input should be a valid list; give rows"),
    "pixels too bright": ({"inputs": [{"pixels": [[[0, 0, 256]]]}]}, "inputs[0].pixels: at [0][0][2] input should be"),
    "pixels below black": ({"inputs": [{"pixels": [[[0, 0, -1]]]}]}, "inputs[0].pixels: at [0][0][2] input should be"),
    "pixels of floats": ({"inputs": [{"pixels": [[[0.5]]]}]}, "inputs[0].pixels: at [0][0][0] input should be"),
    "pixels of truths": ({"inputs": [{"pixels": [[[True]]]}]}, "inputs[0].pixels: at [0][0][0] input should be"),
    "pixels flat": ({"inputs": [{"pixels": [[0, 1], [2, 3]]}]}, "inputs[0].pixels: at [0][0] input should be"),
    "pixels uneven": ({"inputs": [{"pixels": [[[1, 2, 3]], []]}]}, "inputs[0].pixels: its rows or pixels differ"),
    "pixels of two": ({"inputs": [{"pixels": [[[1, 2]]]}]}, "inputs[0]: an array of shape (1, 1, 2) and type uint8"),
    "no pixels": ({"inputs": [{"pixels": []}]}, "inputs[0]: an array of shape (0,)"),
    "nested too deep": (b'{"inputs": ' + b"[" * 100_000, "the request: invalid JSON: recursion limit"),
    "a number too long": (b'{"inputs": ' + b"9" * 100_000 + b"}", "the request: invalid JSON: number out of range"),
    "many wrong numbers": ({"inputs": [{"pixels": [[["a"] * 300_000]]}]}, "inputs[0].pixels: at [0][0][0] input"),
    "many wrong inputs": ({"inputs": [{}] * 300_000}, "inputs[0]: give either image"),
    "many unknown keys": ({"inputs": [dict.fromkeys(map(str, range(100_000)))]}, "inputs[0]: '0' is not one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_in_one_sentence(server: Server, name: str) -> None:
    body, sentence = BAD[name]
    status, reply = server.ask(body=body)
    assert status == 400 and reply.keys() == {"error"}
    told = reply["error"]
    assert told.startswith(sentence)
    assert "\n" not in told and "Traceback" not in told and len(told) < 250


def test_a_request_that_is_too_large_is_refused_while_the_server_lives(server: Server) -> None:
    status, reply = server.ask(body=b" " * (32 * 2**20 + 1))
    assert status == 413 and reply["error"] == "the request is larger than 32 MB; send fewer or smaller photos"
    assert server.ask("/ping", method="GET") == (200, {"landmarks": 3})


def test_other_paths_and_methods_are_told_where_to_go(server: Server) -> None:
    assert server.ask("/health", method="GET") == (200, {"landmarks": 3})
    for status, path, method in (
        *((404, "/nothing", "GET"), (404, "/predict", "POST"), (404, "/static/../server.py", "GET")),
        *((405, "/invocations", "GET"), (405, "/", "POST"), (405, "/static/main.js", "POST"), (405, "/ping", "POST")),
    ):
        got, reply = server.ask(path, method=method)
        assert got == status and "open / in a browser, or POST photos to /invocations" in reply["error"]


def test_a_client_that_hangs_up_half_way_harms_nobody(server: Server) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /invocations HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 9999\r\n\r\n{{"
            client.sendall(head.encode())
    assert server.ask(body={"inputs": []}) == (200, {"predictions": []})


def test_the_curl_command_that_it_prints_is_answered(server: Server, folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    line = server.told.partition("\n\n")[2].replace("photo.jpg", "whole.jpg")
    env = surroundings(no_proxy="127.0.0.1")
    shell = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, env=env)
    assert json.loads(shell.stdout)["predictions"][0]["names"][0] == "left eye", shell


def test_an_image_larger_than_pillow_allows_is_refused(server: Server) -> None:
    stream = io.BytesIO()
    Image.new("1", (14_000, 13_000)).save(stream, "PNG")
    status, reply = server.ask(body={"inputs": [{"image": encoded(stream.getvalue())}]})
    assert status == 400 and "has 182 million pixels, but at most" in reply["error"]


def test_an_array_that_would_fill_the_memory_is_refused(server: Server) -> None:
    side = 1300
    status, reply = server.ask(body={"inputs": [{"pixels": [[[0, 0, 0]] * side] * side}]})
    assert status == 400 and "more than 2,000,000 numbers; send large photos as files" in reply["error"]
