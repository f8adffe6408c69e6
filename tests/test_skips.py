"""In CI a test is not skipped because something is not installed."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = """
import pytest
pytest.importorskip("no_such_library")
"""
PROGRAMS = """
import pytest

@pytest.fixture
def server():
    pytest.skip("PostgreSQL is not installed: apt-get install postgresql")

def test_server(server): ...

@pytest.mark.skipif(True, reason="chromium and its chromedriver are not installed")
def test_browser(): ...

@pytest.mark.skipif(True, reason="needs a CUDA device")
def test_gpu(): ...

@pytest.mark.skipif(True, reason="root may write anywhere")
def test_permission(): ...

def test_plain(): ...
"""


@pytest.mark.parametrize("ci", [True, False])
def test_only_the_machine_excuses_a_skip_in_ci(
    ci: bool, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"library": LIBRARY, "programs": PROGRAMS}.items():
        (tmp_path / f"test_{name}_{ci}.py").write_text(text)  # names of their own, since modules stay loaded
    monkeypatch.setenv("CI", "true" if ci else "")
    house = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    outcomes: dict[str, str] = {}

    def note(report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.passed or (report.nodeid.endswith("plain") and report.when == "call"):
            outcomes[report.nodeid.rpartition("::")[2]] = report.outcome

    hooks = ("pytest_runtest_makereport", "pytest_make_collect_report")
    rules = SimpleNamespace(**{name: getattr(house, name) for name in hooks})
    listener = SimpleNamespace(pytest_runtest_logreport=note, pytest_collectreport=note)
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--continue-on-collection-errors"]
    pytest.main([*options, "-c", os.devnull, f"--rootdir={tmp_path}", str(tmp_path)], plugins=[rules, listener])
    missing = "failed" if ci else "skipped"
    assert outcomes == {
        **dict.fromkeys((f"test_library_{ci}.py", "test_server", "test_browser"), missing),
        **dict.fromkeys(("test_gpu", "test_permission"), "skipped"),
        "test_plain": "passed",
    }
