"""Named experiments: a YAML of overrides in `experiments/` becomes one `dvc exp run` of that name.

An experiment starts from the committed params.yaml. So its name stands for the same numbers whatever the workspace
holds, where DVC leaves the parameters of the last run. Every value is checked before DVC starts.
"""

import copy
import difflib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from brule.config import parse
from brule.documents import parse_yaml, read_text
from brule.errors import BruleError, brief, public
from brule.files import write_text

Parameters = dict[str, Any]
PLACES = ("data.location", "data.extra.location", "data.labels", "data.shapes", "prepare.labelled", "train.initial")
_DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")  # another run may be starting or ending


def catalogue(folder: Path) -> dict[str, str]:
    """{name: what it shows}, from the first line of each experiment's file."""
    files = sorted(folder.glob("*.yaml"))
    return {file.stem: read_text(file).partition("\n")[0].lstrip("# ") for file in files}


def load(folder: Path, name: str) -> Parameters:
    """The overrides of an experiment, nested. Raises BruleError if there is no such experiment."""
    file = folder / f"{name}.yaml"
    names = sorted(catalogue(folder))
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        mend = (
            f"did you mean {close[0]}?" if close else f"the names are {', '.join(names)}" if names else "there are none"
        )
        raise BruleError(f"{file} does not exist; {mend}")
    overrides = _yaml(read_text(file), str(file)) or {}
    if not isinstance(overrides, dict):
        raise BruleError(f"{file} is not a group of parameters; write it like params.yaml")
    return merge({}, overrides)


def assignment(text: str) -> Parameters:
    """`loss.c7=1e-5` → {"loss": {"c7": 1e-05}}; the value is YAML 1.2, as in params.yaml."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise BruleError(f"-S {brief(text)}: is not an assignment; write -S key=value, for example -S loss.c7=2e5")
    return merge({}, {key: _yaml(value, f"-S {brief(text)}")})


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Parameters:
    """A copy of `base` with `overrides` laid over it: groups key by key, other values whole. Keys may be dotted."""
    merged = copy.deepcopy(dict(base))
    for key, value in overrides.items():
        head, _, rest = str(key).partition(".")
        if rest.count(".") > 9:
            raise BruleError(f"{brief(str(key))} is not a parameter; see params.yaml for those there are")
        inner = {rest: value} if rest else value
        if isinstance(inner, Mapping):
            below = merged.get(head)
            merged[head] = merge(below if isinstance(below, Mapping) else {}, inner)
        else:
            merged[head] = inner
    return merged


def plan(root: Path, name: str, assignments: Iterable[str] = (), over: Iterable[str] = ()) -> Parameters:
    """The parameters of an experiment, checked: the committed ones, then its overrides, then those of the experiments
    `over` it, then `assignments`."""
    assignments, over = list(assignments), list(over)
    wanted = overlay(root, name, assignments, over)
    files = " with ".join(f"experiments/{each}.yaml" for each in (name, *over))
    check(root, wanted, files + (" with -S" if assignments else ""))
    return wanted


def overlay(root: Path, name: str, assignments: Iterable[str] = (), over: Iterable[str] = ()) -> Parameters:
    """The same, not checked yet."""
    wanted = committed(root)
    for each in (name, *over):
        wanted = merge(wanted, load(root / "experiments", each))  # a copy of both
    for text in assignments:
        wanted = merge(wanted, _anchored(root, assignment(text)))
    return wanted


def check(root: Path, wanted: Mapping[str, Any], origin: str) -> None:
    """Raise BruleError, naming `origin` and the key, for parameters that no run can have.

    A stage or family that params.yaml does not have is taken for a misspelling: the schema allows any name for it.
    """
    base = committed(root)
    for section in ("stages", "warp"):
        known, given = (list(one) if isinstance(one := every.get(section), Mapping) else [] for every in (base, wanted))
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                mend = f"; did you mean {section}.{close[0]}?" if close else f"; it has {', '.join(known)}"
                raise BruleError(f"{origin}: {section}.{brief(str(name))} is not in params.yaml{mend}")
    parse(wanted, origin)


def committed(root: Path) -> Parameters:
    """params.yaml of the last commit, or of the workspace if no commit has one."""
    shown = subprocess.run(["git", "show", "HEAD:./params.yaml"], cwd=root, capture_output=True, check=False)
    return workspace(root) if shown.returncode else _sections(shown.stdout.decode(), "HEAD:params.yaml")


def workspace(root: Path) -> Parameters:
    """params.yaml as it is in the workspace."""
    file = root / "params.yaml"
    if not file.is_file():
        raise BruleError(f"{file} does not exist; run this from the project's root")
    return _sections(read_text(file), "params.yaml")


def changes(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The `dvc exp run -S` settings that turn `current` into `wanted`: `key=value`, `+key=value` (new), `~key` (gone).

    A section that is gone is removed whole: an empty one that stayed would no longer be off.
    """
    old, new = dict(_leaves(current)), dict(_leaves(wanted))
    gone = [f"~{key}" for key in dict.fromkeys(_removed(key, new) for key in old if key not in new)]
    changed = [key for key, value in new.items() if not _same(old, key, value)]
    return gone + [f"{'' if key in old else '+'}{key}={hydra(new[key])}" for key in changed]


def hydra(value: Any) -> str:
    """A value in the grammar of DVC's `-S` (Hydra's). Strings are quoted if they could be taken for something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(hydra(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, str):
        return repr(value)
    word = re.fullmatch(r"[A-Za-z_][\w/-]*", value, re.ASCII)
    if word and value.lower() not in {"true", "false", "null", "nan", "inf"}:
        return value
    quoted = re.sub(r"(\\*)('|$)", lambda run: run[1] * 2 + ("\\'" if run[2] else ""), value)
    return f"'{quoted}'"


def write(root: Path, wanted: Mapping[str, Any]) -> None:
    """Write `wanted` into the workspace's params.yaml and keep the comments."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    workspace(root)  # within the limits of any YAML
    document = yaml.load(root / "params.yaml")
    _lay(document, wanted)
    text = io.StringIO()
    yaml.dump(document, text)
    write_text(root / "params.yaml", text.getvalue())


def text(overrides: Mapping[str, Any]) -> str:
    """Nested overrides as YAML, the body of an experiment's file: the inverse of `load`."""
    yaml, written = YAML(), io.StringIO()
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.dump(dict(overrides), written)
    return written.getvalue()


def run(root: Path, name: str, wanted: Mapping[str, Any], flags: Iterable[str] = (), replace: bool = False) -> int:
    """Run or queue the experiment through the DVC command line; returns its exit status. Errors as `command`.

    Ctrl-C and SIGTERM reach DVC as one Ctrl-C, at which it lets its stage save and puts git's HEAD back in its place.
    With `replace` an earlier experiment of this name goes once the new one is there, and stays if there is none. What
    is cached is not repeated, as it would be by DVC's own --force.
    """
    flags = list(flags)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _aside(root, name, "--queue" in flags) if replace else nullcontext():
            status, stopped = _ended(_started(command(root, name, wanted, flags), root))
        if stopped:
            raise KeyboardInterrupt
        return status
    finally:
        signal.signal(signal.SIGTERM, before)


def _started(words: list[str], root: Path) -> subprocess.Popen[bytes]:
    """In a group of its own: no signal reaches it but through us. It heeds a Ctrl-C even if we, in the background, may
    not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(words, cwd=root, stdin=subprocess.DEVNULL, process_group=0)
    finally:
        signal.signal(signal.SIGINT, before)


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, bool]:
    """Its exit status, and whether it was told to stop."""
    stopped = False
    while True:
        try:
            return process.wait(), stopped
        except KeyboardInterrupt:
            stopped = True
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)


@contextmanager
def _aside(root: Path, name: str, queued: bool) -> Iterator[None]:
    """An earlier experiment is called NAME.before meanwhile; for good if the new one is only queued."""
    if name not in _names(root):
        yield
        return
    before = f"{name}.before"
    _exp(root, "rename", "--force", name, before)
    if queued:
        print(f"the earlier {name} is now called {before}", file=sys.stderr)
        yield
        return
    try:
        yield
    finally:
        if name in _names(root):
            _exp(root, "remove", before)
        else:
            _exp(root, "rename", before, name)


def command(
    root: Path, name: str, wanted: Mapping[str, Any], flags: Iterable[str] = (), replace: bool = False
) -> list[str]:
    """The command line of DVC that runs or queues the experiment, which it also prints.

    Raises BruleError if the same commit already has an experiment of this name, or will have one, since of two the
    later one is lost. With `replace` the one that it has is removed.
    """
    if name in _queued(root):
        raise BruleError(
            f"experiment {name} is already queued (see dvc queue status); wait, or dvc queue remove {name}"
        )
    if name in _names(root):
        if not replace:
            raise BruleError(f"experiment {name} already exists on this commit (see dvc exp show); --force replaces it")
        _exp(root, "remove", name)
    here, base = workspace(root), committed(root)
    undone = sorted(_keys(changes(base, here)) - _keys(changes(base, wanted)))
    if undone:
        print(f"{name} starts from the committed params.yaml, which resets {', '.join(undone)}", file=sys.stderr)
    settings = [word for change in changes(here, wanted) for word in ("-S", change)]
    words = ["exp", "run", "--name", name, *flags, *settings]
    print(f"$ dvc {public(shlex.join(words))}", flush=True)
    return [*_DVC, *words]


def _names(root: Path) -> list[str]:
    """Of the experiments of this commit."""
    listed = [*_DVC, "exp", "list", "--name-only"]
    return subprocess.run(listed, cwd=root, capture_output=True, text=True, check=False).stdout.split()


def _queued(root: Path) -> list[str]:
    """Of the experiments that wait in the queue, or that its workers run."""
    status = subprocess.run([*_DVC, "queue", "status"], cwd=root, capture_output=True, text=True, check=False)
    rows = [line.split() for line in status.stdout.splitlines()]
    return [row[1] for row in rows if len(row) > 2 and row[-1] in ("Queued", "Running")]


def _exp(root: Path, verb: str, *words: str) -> None:
    """`dvc exp VERB`. Raises BruleError with DVC's last line if it fails."""
    done = subprocess.run([*_DVC, "exp", verb, *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise BruleError(f"dvc exp {verb} {words[-1]}: {said[-1]}")


def _lay(document: Any, wanted: Mapping[str, Any]) -> None:
    for key in [key for key in document if key not in wanted]:
        del document[key]
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(document.get(key), Mapping):
            _lay(document[key], value)
        elif key not in document or not _same(document, key, value):
            document[key] = value


def _keys(settings: Iterable[str]) -> set[str]:
    return {setting.partition("=")[0].lstrip("+~") for setting in settings}


def _same(there: Mapping[str, Any], key: str, value: Any) -> bool:
    return key in there and there[key] == value and isinstance(there[key], bool) == isinstance(value, bool)


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _removed(key: str, new: Mapping[str, Any]) -> str:
    """The uppermost section of this key that `new` has nothing of; the key itself if there is no such section."""
    parts = key.split(".")
    above = [".".join(parts[:count]) for count in range(1, len(parts))]
    return next((one for one in above if not any(f"{k}.".startswith(f"{one}.") for k in new)), key)


def _anchored(root: Path, override: Parameters) -> Parameters:
    """Make paths that exist here absolute: `--temp` and `--queue` run in another folder, with git's files alone.

    A file that git has stays relative, the same on every machine.
    """
    there = {key: Path(value) for key, value in _leaves(override) if key in PLACES and isinstance(value, str)}
    moved = {key: path for key, path in there.items() if path.exists() and not _tracked(root, path)}
    return merge(override, {key: str(path.resolve()) for key, path in moved.items()})


def _tracked(root: Path, path: Path) -> bool:
    words = ["git", "ls-files", "--error-unmatch", "--", str(path)]
    return path.is_file() and not subprocess.run(words, cwd=root, capture_output=True, check=False).returncode


def _sections(text: str, origin: str) -> Parameters:
    sections = _yaml(text, origin)
    if not isinstance(sections, dict):
        raise BruleError(f"{origin} is not a group of parameters")
    return copy.deepcopy(sections)


# A table asks for the committed parameters at every run. Callers copy what they change.
_yaml = lru_cache(maxsize=8)(parse_yaml)
