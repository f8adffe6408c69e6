"""A script ends in silence, or in one red line and exit code 1."""

import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

import brule
from brule.errors import BruleError
from brule.terminal import main, stage

SOURCE = str(Path(__file__).parents[1] / "src")


def during_a_save() -> Exception:
    """What torch.save raises when the memory runs out."""
    error = RuntimeError("enforce fail at inline_container.cc: unexpected pos 64 vs 0")
    error.__context__ = MemoryError()
    return error


def failing(error: BaseException):
    def function() -> None:
        raise error

    return function


def test_success_is_silent(capsys):
    main(lambda: None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BruleError("a[b]  \n.pts, line 3: no landmark; write two"), r"a[b]  \n.pts, line 3: no landmark; write two"),
        (FileNotFoundError(2, "No such file", "a\n\x1b[31m.png"), r"a\n\x1b[31m.png: no such file; correct that"),
        (
            PermissionError(13, "Permission denied", "data/raw"),
            "data/raw: permission denied; correct that and run again\n",
        ),
        (MemoryError(), "the memory ran out; lower train.batch_size, prepare.image_size or the networks' widths\n"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "the memory ran out; lower train.batch_size,"),
        (during_a_save(), "the memory ran out; lower train.batch_size,"),
    ],
)
def test_what_a_user_can_correct_is_one_line(capsys, error, sentence):
    with pytest.raises(SystemExit) as exit_:
        main(failing(error))
    shown = capsys.readouterr()
    assert exit_.value.code == 1
    assert shown.out == ""
    assert shown.err.startswith(sentence)
    assert shown.err.count("\n") == 1


def test_a_long_line_is_not_broken(capsys):
    with pytest.raises(SystemExit):
        main(failing(BruleError("x" * 300)))
    assert capsys.readouterr().err == "x" * 300 + "\n"


def test_a_stage_that_is_given_an_argument_says_so_and_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pipelines/train.py", "--help"])
    with pytest.raises(SystemExit) as exit_:
        stage(failing(AssertionError("it ran")))
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python pipelines/train.py  ")
    monkeypatch.setattr(sys, "argv", ["pipelines/train.py"])
    with pytest.raises(AssertionError, match="it ran"):
        stage(failing(AssertionError("it ran")))


@pytest.mark.parametrize("name", ["download", "prepare", "barycenter", "train", "evaluate", "report"])
def test_help_of_a_stage_leaves_the_project_alone(tmp_path: Path, name: str):
    script = Path(__file__).parents[1] / "pipelines" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=tmp_path, env={"PYTHONPATH": SOURCE}, capture_output=True, text=True
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "no arguments" in done.stderr


def test_only_a_script_that_can_share_its_work_starts_in_several_processes(monkeypatch, capsys):
    ran = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, told in (("1", 0), ("0", 1)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) if told else nullcontext():
            main(lambda: ran.append("alone"))
        assert capsys.readouterr().err.count("without torchrun") == told
    main(lambda: ran.append("together"), together=True)
    assert ran == ["together"]


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shape mismatch"):
        main(failing(RuntimeError("shape mismatch")))


def test_interruption_exits_as_shells_expect():
    with pytest.raises(SystemExit) as exit_:
        main(failing(KeyboardInterrupt()))
    assert exit_.value.code == 130


@pytest.mark.parametrize("module", ["brule", "brule.terminal", "brule.data.rendering"])
def test_what_starts_often_costs_no_heavy_import(module: str):
    """The package, what every script begins with, and what each process of the renderer imports."""
    heavy = {"torch", "pandas", "mlflow", "matplotlib", "pydantic", "pooch", "rich"}
    code = f"import sys, {module}; print({heavy} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": SOURCE}, capture_output=True, text=True)
    assert shown.stdout == "set()\n", shown.stderr


def test_the_package_shows_what_a_user_calls():
    assert set(brule.__all__) == {"load", "__version__"}
    assert re.match(r"\d+\.|unknown$", brule.__version__)
    assert "brule.load(" in str(brule.__doc__) and ".predict(" in str(brule.__doc__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = brule.nothing
    assert (Path(brule.__file__).parent / "py.typed").exists()
