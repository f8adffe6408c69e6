"""Named experiments: merging, checking, and what DVC is told. DVC's own override code is the oracle."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from brule.errors import BruleError
from brule.stages import experiments

ROOT = Path(__file__).parents[1]
WORDS = [
    "1e-5",
    "true",
    "null",
    "NaN",
    "",
    "3",
    "-",
    "'",
    "\\",
    "\\'",
    "a\\",
    "a b",
    "/tmp/300 w.zip",
    "https://x.org/a?b=c&d",
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(
        st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_categories=["Cc"], exclude_characters="$\xa0\xad"),
        max_size=8,
    ),
    st.lists(st.integers(0, 67), max_size=3),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """params.yaml as it stands, and one experiment; no git."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "half.yaml").write_text("# Half of it\nloss: {c5: 10}\ntrain.batch_size: 8\n")
    return tmp_path


def test_merge_goes_into_sections_and_replaces_everything_else() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "list": [1, 2]}
    merged = experiments.merge(base, {"a.c.d": 3, "a": {"e": None}, "list": [4]})
    assert merged == {"a": {"b": 1, "c": {"d": 3}, "e": None}, "list": [4]}
    assert base == {"a": {"b": 1, "c": {"d": 2}}, "list": [1, 2]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("2e5", 2e5),
        ("null", None),
        ("[36, 45]", [36, 45]),
        ("true", True),
        ("/a b/c=d.zip", "/a b/c=d.zip"),
    ],
)
def test_an_assignment_is_read_as_in_params(text: str, value: object) -> None:
    read = experiments.assignment(f"data.location={text}")["data"]["location"]
    assert read == value
    assert type(read) is type(value)


def test_an_experiment_lays_over_the_parameters(project: Path) -> None:
    wanted = experiments.plan(project, "half", ["loss.c7=1e-5"])
    assert wanted["loss"]["c5"] == 10
    assert wanted["loss"]["c7"] == 1e-5
    assert wanted["train"]["batch_size"] == 8
    assert experiments.changes(experiments.workspace(project), wanted) == [
        "loss.c5=10",
        "loss.c7=1e-05",
        "train.batch_size=8",
    ]


@pytest.mark.parametrize(
    ("name", "assignment", "sentence"),
    [
        ("half", "loss.c77=1", "loss.c77 is not a parameter; did you mean loss.c7?"),
        ("half", "stages.wram.iterations=1", "stages.wram is not in params.yaml; did you mean stages.warm?"),
        ("half", "warp.setled.rotation=1", "warp.setled is not in params.yaml; did you mean warp.settled?"),
        ("half", "stages.qqq.iterations=1", "stages.qqq is not in params.yaml; it has warm, teach, "),
        ("half", "stages.warm.gan_evry=1", "stages.warm.gan_evry is not a parameter"),
        ("half", "data.extra.sauce=celeba", "data.extra.source is missing"),
        ("half", "stages=3", "stages = 3: is a group of parameters, not a value"),
        ("half", "loss.c7=many", "loss.c7 = 'many'"),
        ("half", "loss.c7", "write -S key=value"),
        ("half", "loss.c7=[", "not valid YAML"),
        ("half", "data.source=300w", "data.location is empty"),
        ("hafl", "seed=1", "did you mean half?"),
        ("../params", "seed=1", "does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(project: Path, name: str, assignment: str, sentence: str) -> None:
    with pytest.raises(BruleError) as caught:
        experiments.plan(project, name, [assignment])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_relative_place_becomes_absolute(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    wanted = experiments.plan(project, "half", ["data.source=folder", "data.location=experiments"])
    assert wanted["data"]["location"] == str(project / "experiments")


def test_an_experiment_starts_from_the_committed_parameters(project: Path) -> None:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "params.yaml"], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*git, *words], cwd=project, check=True)
    before = experiments.workspace(project)
    experiments.write(project, experiments.merge(before, {"loss.c9": 123}))
    assert experiments.workspace(project)["loss"]["c9"] == 123
    assert experiments.plan(project, "half")["loss"]["c9"] == before["loss"]["c9"]


def test_writing_keeps_the_comments(project: Path) -> None:
    def comments() -> list[str]:
        return [line.partition("# ")[2] for line in (project / "params.yaml").read_text().splitlines()]

    before, wanted = comments(), experiments.plan(project, "half")
    experiments.write(project, wanted)
    assert experiments.workspace(project) == wanted
    assert comments() == before


@settings(max_examples=60, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=4))
def test_dvc_understands_every_value_as_it_was_meant(
    values: list[object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from dvc.utils.hydra import apply_overrides

    file = tmp_path_factory.mktemp("params") / "params.yaml"
    current = {"a": {f"k{number}": "old" for number in range(len(values))}, "gone": 1}
    wanted = {"a": {f"k{number}": value for number, value in enumerate(values)}, "new": {"key": values[0]}}
    YAML().dump(current, file)
    apply_overrides(file, experiments.changes(current, wanted))
    assert YAML(typ="safe").load(file) == wanted


def test_a_switch_that_params_lacks_is_switched_on_and_off_again(project: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    file, before = project / "params.yaml", experiments.workspace(project)
    (project / "experiments" / "on.yaml").write_text(
        "# On\ndata: {extra: {source: folder, location: /x, use: join}}\nstages: {learn: {view: null, gan_every: 2}}\n"
    )
    wanted = experiments.plan(project, "on", ["loss.cycle=3", "warp.strong.elastic=0.1", "warp.strong.correlation=0.2"])
    assert "extra" not in before["data"] and "cycle" not in before["loss"]
    apply_overrides(file, on := experiments.changes(before, wanted))
    assert "+data.extra.source=folder" in on and "+loss.cycle=3" in on and "stages.learn.view=null" in on
    assert experiments.workspace(project) == wanted
    apply_overrides(file, off := experiments.changes(wanted, before))
    assert "~data.extra" in off and not [change for change in off if change.startswith("~data.extra.")]
    assert experiments.workspace(project) == before, "an empty section that stayed would not be off"


def test_the_command_that_is_shown_has_no_secrets(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = experiments.plan(project, "half", ["data.source=folder", "data.location=https://u:pass@h/a.zip?sig=x1"])
    words = experiments.command(project, "half", wanted)
    shown = capsys.readouterr().out
    assert any("pass" in word for word in words), "DVC gets them"
    assert "data.location" in shown and "pass" not in shown and "x1" not in shown


DVC = """
import pathlib, sys, time
names, words = pathlib.Path("names"), sys.argv[2:]
there = names.read_text().split() if names.exists() else []
if words[0] == "list":
    print(*there)
elif words[0] == "status" and pathlib.Path("waiting").exists():
    print("Task Name Created Status", "1ab quarter 09:00 Failed", "2cd half 09:36 AM Queued", sep="\\n")
elif words[0] == "rename":
    there = [word for word in there if word not in words[-2:]] + [words[-1]]
elif words[0] == "remove":
    there.remove(words[-1])
elif words[0] == "run":
    with open("seen", "a") as seen:
        print(*there, file=seen)
    if pathlib.Path("fails").exists():
        sys.exit(3)
    if pathlib.Path("lasts").exists():
        try:
            pathlib.Path("began").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            pathlib.Path("tidied").touch()
            sys.exit(4)
    there += [] if "--queue" in words else [words[2]]
names.write_text(" ".join(there))
"""


def test_an_earlier_experiment_goes_only_when_the_new_one_is_there(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiments, "_DVC", (sys.executable, "-c", DVC))
    wanted = experiments.plan(project, "half")
    names, fails = project / "names", project / "fails"
    assert experiments.run(project, "half", wanted) == 0
    with pytest.raises(BruleError, match=r"experiment half already exists on this commit .*; --force replaces it"):
        experiments.run(project, "half", wanted)
    fails.touch()
    assert experiments.run(project, "half", wanted, replace=True) == 3
    assert names.read_text() == "half", "the earlier one"
    fails.unlink()
    assert experiments.run(project, "half", wanted, replace=True) == 0
    assert names.read_text() == "half", "the new one"
    assert (project / "seen").read_text().splitlines() == ["", "half.before", "half.before"]
    assert experiments.run(project, "half", wanted, ["--queue"], replace=True) == 0
    assert names.read_text() == "half.before" and "is now called half.before" in capfd.readouterr().err
    assert experiments.run(project, "half", wanted, replace=True) == 0
    assert names.read_text() == "half.before half", "what an earlier call set aside for good stays"


def test_of_two_experiments_of_one_name_none_is_lost_in_the_queue(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "_DVC", (sys.executable, "-c", DVC))
    (project / "waiting").touch()
    (project / "experiments" / "quarter.yaml").touch()
    with pytest.raises(BruleError, match=r"experiment half is already queued \(see dvc queue status\); wait, or dvc"):
        experiments.run(project, "half", experiments.plan(project, "half"), replace=True)
    assert experiments.run(project, "quarter", experiments.plan(project, "quarter")) == 0, "one that failed is over"


@pytest.mark.parametrize("place", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def test_sigterm_reaches_dvc_as_ctrl_c_and_the_earlier_experiment_stays(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    outside = signal.signal(signal.SIGINT, place)
    monkeypatch.setattr(experiments, "_DVC", (sys.executable, "-c", DVC))
    wanted, before = experiments.plan(project, "half"), signal.getsignal(signal.SIGTERM)
    experiments.run(project, "half", wanted)
    (project / "lasts").touch()

    def stop() -> None:
        while not (project / "began").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            experiments.run(project, "half", wanted, replace=True)
        assert signal.getsignal(signal.SIGINT) == place
    finally:
        signal.signal(signal.SIGINT, outside)
    assert (project / "tidied").exists() and (project / "names").read_text() == "half"
    assert signal.getsignal(signal.SIGTERM) == before


def test_places_become_absolute_unless_git_has_the_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for name in ("mine.txt", "theirs.txt", "shapes.json"):
        Path(name).touch()
    (project / "pictures").mkdir()
    for words in (["init", "-q"], ["add", "theirs.txt"]):
        subprocess.run(["git", *words], check=True)
    overlay = experiments.overlay(
        Path(), "half", ["data={location: pictures, shapes: shapes.json}", "prepare.labelled=mine.txt"]
    )
    assert overlay["data"]["location"] == str(project / "pictures")
    assert overlay["data"]["shapes"] == str(project / "shapes.json")
    assert overlay["prepare"]["labelled"] == str(project / "mine.txt")
    assert experiments.overlay(Path(), "half", ["prepare.labelled=theirs.txt"])["prepare"]["labelled"] == "theirs.txt"


def test_of_several_experiments_the_later_ones_win(project: Path) -> None:
    (project / "experiments" / "more.yaml").write_text("# More of it\nloss: {c5: 40, c6: 7}\n")
    wanted = experiments.plan(project, "half", ["loss.c6=9"], ["more"])
    assert (wanted["loss"]["c5"], wanted["loss"]["c6"], wanted["train"]["batch_size"]) == (40, 9, 8)
    (project / "experiments" / "more.yaml").write_text("# Too much\nloss: {c55: 40}\n")
    with pytest.raises(BruleError, match=r"^experiments/half.yaml with experiments/more.yaml: .*loss\.c55"):
        experiments.plan(project, "half", [], ["more"])
    with pytest.raises(BruleError, match=r"none.yaml does not exist"):
        experiments.plan(project, "half", [], ["none"])


def test_the_command_line_writes_several_experiments_over_each_other(project: Path) -> None:
    (project / "experiments" / "more.yaml").write_text("# More of it\nloss: {c5: 40}\n")
    shutil.copy(ROOT / "dvc.yaml", project)
    script = ROOT / "pipelines" / "experiment.py"
    subprocess.run([sys.executable, script, "half", "more", "--write"], cwd=project, check=True)
    assert experiments.workspace(project) == experiments.plan(project, "half", [], ["more"])


def test_the_command_line_lists_and_explains() -> None:
    listed = subprocess.run(
        [sys.executable, "pipelines/experiment.py", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(experiments.catalogue(ROOT / "experiments"))
    wrong = subprocess.run(
        [sys.executable, "pipelines/experiment.py", "smoke", "-S", "loss.c77=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert wrong.returncode == 1
    nameless = subprocess.run(
        [sys.executable, "pipelines/experiment.py", "--queue"], cwd=ROOT, capture_output=True, text=True
    )
    assert nameless.returncode == 2 and "which experiment? give its name" in nameless.stderr
    assert "loss.c77" in wrong.stderr
    assert "Traceback" not in wrong.stderr
