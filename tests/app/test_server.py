"""`brule serve`: who may ask and who may not, and what happens if it cannot start or something goes wrong."""

import argparse
import io
import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from brule.app import detecting, server
from brule.app.page import Page
from brule.cli import command, serve
from brule.detector import weights
from brule.detector.gan import KIND, Gan
from brule.detector.model import Detector
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import encoded, same, start

JSON = {"Content_Type": "application/json"}


def question(models: Path) -> bytes:
    photo = (models / "photos" / "a.png").read_bytes()
    return json.dumps({"inputs": [{"image": encoded(photo)}]}).encode()


def test_pages_of_other_sites_may_not_ask(site: Any, models: Path) -> None:
    photo, body = (models / "photos" / "b.jpg").read_bytes(), question(models)
    for path, data in {"landmarks?name=b.jpg": photo, "invocations": body}.items():
        for origin in ("https://elsewhere.example", "null", "http://127.0.0.1:1"):
            status, told, _ = site.ask(path, data, Origin=origin, Content_Type="application/json")
            assert status == 403 and told["error"].startswith(origin)
        own = site.address.rstrip("/")
        assert site.ask(path, data, Origin=own, Content_Type="application/json")[0] == 200
    for path in ("", "model", "ping"):
        for host in ("elsewhere.example", "127.0.0.1.elsewhere.example:80", ""):
            status, told, _ = site.ask(path, None, Host=host)
            assert status == 400 and f"no host '{host}'" in told["error"]
        assert site.ask(path, None, Host="localhost:1")[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_could_send_is_not_taken_for_json(site: Any, models: Path, kind: str) -> None:
    status, told, _ = site.ask("invocations", question(models), Content_Type=kind)
    assert status == 415 and told["error"].endswith("send Content-Type: application/json")


def test_json_is_taken_with_a_charset_and_without_a_type(site: Any, page: Page, models: Path) -> None:
    body, found = question(models), page.detector.predict(models / "photos" / "a.png")
    status, reply, _ = site.ask("invocations", body, Content_Type="Application/JSON; charset=utf-8")
    assert status == 200 and same(reply["predictions"][0], found)
    port = int(site.address.strip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:  # urllib would add a type of its own
        head = (
            f"POST /invocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        told = b"".join(iter(lambda: client.recv(65536), b""))
    assert told.startswith(b"HTTP/1.1 200") and same(
        json.loads(told.partition(b"\r\n\r\n")[2])["predictions"][0], found
    )


PAGE = ["", "static/main.js", "static/look.css", "static/icon.svg", "model", "samples/0", "thumbnails/1"]
STATUS = {**dict.fromkeys([*PAGE, "ping"], 200), "none": 404, "samples/9": 404, "invocations": 405}


@pytest.mark.parametrize("path", STATUS)
def test_every_answer_carries_the_policy(site: Any, path: str) -> None:
    status, _, headers = site.ask(path)
    assert status == STATUS[path]
    sealed(headers)


def sealed(headers: dict[str, str]) -> None:
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cross-origin-resource-policy"] == "same-origin"


def test_refusals_carry_the_policy_too(site: Any) -> None:
    for headers in ({"Host": "elsewhere.example"}, {"Origin": "null"}, {"Content_Type": "text/plain"}, {}):
        status, told, sent = site.ask("invocations", b"[]", **headers)
        assert 400 <= status < 500 and told.keys() == {"error"}
        sealed(sent)


def test_samples_are_the_files_themselves(site: Any, models: Path) -> None:
    assert site.ask("samples/0")[1] == (models / "photos" / "a.png").read_bytes()
    assert Image.open(io.BytesIO(site.ask("thumbnails/0")[1])).size == (120, 90)
    for path in ("samples/2", "thumbnails/2", "../pyproject.toml", "static/../page.py", "samples/x"):
        status, told, _ = site.ask(path)
        assert status == 404 and "is not served here" in told["error"]


def test_a_photo_that_is_too_large_is_refused(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "LARGEST_PHOTO", 2**20)
    status, told, _ = site.ask("landmarks?name=x.jpg", bytes(2**20 + 1))
    assert (status, told["error"]) == (413, "x.jpg is larger than 1 MB; choose a smaller photo")
    assert site.ask("landmarks?name=x.jpg", bytes(2**20))[0] == 400, "a photo of 1 MB is read, and is not one"


def test_a_fault_of_the_program_is_one_sentence_as_well(
    opened: Callable[[Page], Any], page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Page) -> dict[str, Any]:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Page, "model", fail)
    status, told, headers = opened(page).ask("model")
    assert (status, told["error"]) == (500, "the server failed on this request; its terminal says why")
    sealed(headers)


def test_page_and_api_are_answered_one_at_a_time(
    opened: Callable[[Page], Any], page: Page, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, running, most = Detector.predict, 0, 0

    def slow(self: Detector, *args: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.1)
        running -= 1
        return real(self, *args)

    monkeypatch.setattr(Detector, "predict", slow)
    site, photo, body = opened(page), (models / "photos" / "a.png").read_bytes(), question(models)
    asks = [lambda: site.ask("landmarks?name=a.png", photo), lambda: site.ask("invocations", body, **JSON)] * 3
    with ThreadPoolExecutor(6) as pool:
        assert [status for status, *_ in pool.map(lambda ask: ask(), asks)] == [200] * 6
    assert most == 1


def test_demo_is_the_same_command_with_page_and_api(models: Path) -> None:
    running = start("--model", "detector.safetensors", "--samples", "photos", cwd=models, name="demo")
    try:
        status, model = running.ask("/model", method="GET")
        assert status == 200 and model["styles"] and model["samples"] == ["a.png", "b.jpg"]
        assert running.ask(body=json.loads(question(models)))[0] == 200
        assert running.end(signal.SIGINT) == (130, "")
    finally:
        running.process.kill()


def test_the_gan_beside_the_model_serves_the_page_if_it_can(
    page: Page, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def chosen(*words: str) -> Gan | None:
        command = argparse.ArgumentParser()
        serve.arguments(command)
        return serve._gan(
            command.parse_args(["--model", str(tmp_path / "detector.safetensors"), *words]), page.detector
        )

    path = tmp_path / "gan.safetensors"
    assert chosen() is None and capsys.readouterr().err == ""
    assert chosen("--gan", str(models / "gan.safetensors")) is not None
    header, tensors = weights.load(models / "gan.safetensors", KIND)
    weights.save(path, KIND, header, tensors)
    assert chosen() is not None
    weights.save(path, KIND, {**header, "iterations": 0}, tensors)
    assert chosen() is None and capsys.readouterr().err == "", "one that was never trained draws nothing"
    weights.save(path, KIND, {**header, "image_size": 32}, tensors)
    assert chosen() is None
    told = capsys.readouterr().err
    assert told.startswith(f"{path}: it draws 4 landmarks at 32 px") and told.endswith("; the page does without it\n")
    with pytest.raises(BruleError, match=r"gan\.safetensors: it draws 4 landmarks at 32 px"):
        chosen("--gan", str(path))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`told("--port", "x")` → exit code and stderr of a `brule serve` that cannot start."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["brule", "serve", *words])
        with pytest.raises(SystemExit) as exit_:
            command.main()
        shown = capsys.readouterr()
        assert shown.out == ""
        return int(exit_.value.code or 0), shown.err

    return call


def test_what_cannot_be_served_is_told_in_one_line(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., tuple[int, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    model = models / "detector.safetensors"
    taken = server.bind(0)
    port = str(taken.getsockname()[1])
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:99])
    for words, sentence in {
        ("--model", str(model), "--port", port): f"port {port} is taken by another program; choose another with --port",
        ("--model", "cut.safetensors", "--port", "0"): "cut.safetensors: not a whole safetensors file",
        ("--port", "0"): "models/detector.safetensors: there is no such file",
        ("--model", "models:/brule@champion", "--port", "0"): "models:/brule@champion: there is no MLflow store",
        ("--model", str(model), "--gan", "no.safetensors", "--port", "0"): "no.safetensors: there is no such file",
        ("--model", str(model), "--samples", ".", "--port", "0"): ".: there are no photos in this folder; give",
    }.items():
        code, line = told(*words)
        assert code == 1 and line.startswith(sentence) and line.count("\n") == 1
    taken.close()
    assert [path.name for path in tmp_path.iterdir()] == ["cut.safetensors"]


@pytest.mark.parametrize("port", ["x", "-1", "65536", "5e3"])
def test_a_port_that_is_not_one_is_refused(port: str, told: Callable[..., tuple[int, str]]) -> None:
    code, line = told(f"--port={port}")
    assert code == 2 and f"{port} is not a port; give a number" in line
