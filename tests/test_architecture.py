"""The rules of the house: who imports whom, one door per library, honest stage deps."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from brule.config import Config
from brule.tracking.registry import REQUIREMENTS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "brule").rglob("*.py"))
}
STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

# The floors of the house, top down: a module imports from its own room and from the floors below.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("app",),
    ("stages",),
    ("detector", "method", "figures"),
    ("tracking", "data", "machine"),
    ("config", "terminal"),
    ("maths",),
    ("networks", "synthetic", "files", "documents"),
    ("errors", "cores"),
)
# A room that may look at less than what lies below it.
ALLOWED: dict[str, tuple[str, ...]] = {
    "maths": ("maths", "errors"),
    "networks": ("networks",),
    "synthetic": ("synthetic",),
    "method": ("method", "maths", "networks", "data.prepared", "data.schemes", "config", "errors", "files"),
    "method.losses": ("maths",),
    "method.golden_section": (),
    "method.algorithm1": ("method", "maths", "config"),
    "method.algorithm2": ("method", "maths", "config"),
    "figures": ("figures", "data.schemes", "errors", "files"),
    "tracking": ("tracking", "config", "terminal", "errors", "files"),
    "detector.prediction": ("data.crop", "data.photos", "detector.finding", "detector.plausibility", "maths", "errors"),
    "detector.finding": ("data.crop", "detector.plausibility", "errors"),
    "detector.plausibility": ("data.crop", "maths", "errors"),
}
# A library → the only modules that may import it.
DOORS: dict[str, tuple[str, ...]] = {
    "ot": ("maths.transport",),
    "optuna": (
        "method.golden_section",
        "method.tuning",
        "stages.snapshots",
        "stages.storage",
        "stages.study",
        "stages.worker",
    ),
    "sqlalchemy": ("stages.storage",),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), ("detector.onnx",)),
    "mlflow": ("tracking", "detector.pyfunc"),
    "starlette": ("app",),
    "uvicorn": ("app",),
    "kornia": ("maths", "networks.layers"),
    "matplotlib": ("figures",),
    "jinja2": ("stages.render",),
    "pooch": ("data.download",),
    "ruamel": ("documents", "stages.experiments"),
    "safetensors": ("detector.weights",),
    "triton": ("networks.fused",),
    "av": ("detector.video",),
    **dict.fromkeys(
        ("dvc", "hydra", "omegaconf", "torchvision", "cv2", "imageio", "skimage", "pickle", "dill", "yaml"), ()
    ),
}
# A room → the only libraries it may import.
LIBRARIES: dict[str, set[str]] = {
    "maths": {"torch", "numpy", "scipy", "ot", "kornia"},
    "maths.family": set(),
    "networks": {"torch", "kornia"},
    "networks.fused": {"torch", "triton"},
    "method.losses": {"torch"},
    "data": {"numpy", "scipy", "pandas", "PIL", "pooch"},
    "data.landmarks": {"numpy"},
    "data.pts": {"numpy"},
    "data.prepare": {"numpy", "pydantic"},
    "synthetic": {"numpy", "scipy", "PIL"},
    "config": {"pydantic"},
    "detector.prediction": {"torch", "numpy"},
    "detector.plausibility": {"torch", "numpy"},
    "detector.finding": {"numpy", "PIL"},
    "detector.protocol": {"numpy", "pydantic"},
}
# What decides nothing of a stage's outputs: how it is called, told and recorded; and in some stages what opens its
# inputs, draws its pictures and puts its outputs into files.
INDIFFERENT = {"config", "cores", "documents", "errors", "files", "machine", "terminal", "tracking"}
ALSO_INDIFFERENT = {
    "barycenter": {"data", "figures"},
    "train": {"data", "figures", "stages", "detector"},
    "evaluate": {"data"},
}


def inside(name: str, wings: tuple[str, ...]) -> bool:
    return any(name == wing or name.startswith(f"{wing}.") for wing in wings)


def longest(table: dict[str, Any], name: str) -> Any:
    return table.get(max((wing for wing in table if inside(name, (wing,))), key=len, default=""))


def floor(name: str) -> int:
    return next((level for level, rooms in enumerate(FLOORS) if inside(name, rooms)), -1)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield child
            yield from statements(child)


@cache
def imports(path: Path, typing: bool = False, at_once: bool = False) -> frozenset[str]:
    """The dotted names that a file imports: modules of brule in full, of other packages the package alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if typing else tree.body if at_once else statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            base = str(node.module)
            assert base in MODULES or base.split(".")[0] != "brule", f"{path}: there is no {base}"
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names}
    return frozenset(name if name.startswith("brule") else name.partition(".")[0] for name in found)


def closure(script: Path, at_once: bool = False) -> set[Path]:
    """Every file of brule that runs when `script` does: its imports, theirs, and the packages these lie in.

    `at_once`: without what a function imports when it is called.
    """
    todo, seen = [script], {script}
    while todo:
        for name in imports(todo.pop(), at_once=at_once):
            parts = name.split(".")
            parents = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            for path in {MODULES[parent] for parent in parents if parent in MODULES} - seen:
                seen.add(path)
                todo.append(path)
    return seen - {script}


def short(name: str) -> str:
    return name.removeprefix("brule").lstrip(".")


@pytest.mark.parametrize("name", [name for name in MODULES if short(name)])
def test_a_module_looks_only_at_its_own_room_and_the_floors_below(name: str) -> None:
    own, room = floor(short(name)), short(name).split(".")[0]
    assert own >= 0, f"{name} has no place in the house yet: give its room a floor"
    inner = {short(other) for other in imports(MODULES[name], typing=True) if other.split(".")[0] == "brule"} - {""}
    wrong = {other for other in inner if other.split(".")[0] != room and floor(other) <= own}
    assert not wrong, f"{name} looks up"
    allowed = longest(ALLOWED, short(name))
    assert allowed is None or not {o for o in inner if not inside(o, allowed)}, f"{name} may import only {allowed}"


@pytest.mark.parametrize("name", MODULES)
def test_a_library_has_one_door(name: str) -> None:
    outer = {
        lib for lib in imports(MODULES[name]) if not lib.startswith("brule") and lib not in sys.stdlib_module_names
    }
    outer |= imports(MODULES[name]) & {"pickle"}
    for library in outer & set(DOORS):
        assert inside(short(name), DOORS[library]), (
            f"{name} imports {library}; its door is {DOORS[library] or 'nowhere'}"
        )
    libraries = longest(LIBRARIES, short(name))
    assert libraries is None or outer <= libraries, f"{name} may import only {sorted(libraries)}"


def test_no_import_goes_round_in_a_circle() -> None:
    """Not even one for type checkers alone."""
    graph = {
        name: {n for n in imports(path, typing=True) if n in MODULES and n not in (name, "brule")}
        for name, path in MODULES.items()
    }
    while leaves := {name for name, others in graph.items() if not others & set(graph)}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert not graph, f"a circle among {sorted(graph)}"


def test_a_file_s_name_stands_in_one_room_only() -> None:
    rooms: dict[str, set[str]] = {}
    for path in MODULES.values():
        rooms.setdefault(path.name, set()).add(str(path.parent))
    shared = {name: found for name, found in rooms.items() if len(found) > 1 and name != "__init__.py"}
    assert not shared
    assert not {path.stem for path in MODULES.values()} & {"utils", "util", "helpers", "common", "misc"}


def test_inference_loads_no_gan_no_method_no_tracking() -> None:
    loaded = {
        str(path.relative_to(SOURCE / "brule")) for path in closure(MODULES["brule.detector.model"], at_once=True)
    }
    wrong = re.compile(r"method/|config/|tracking/|figures|networks/(generator|discriminator|style)")
    assert not [path for path in loaded if wrong.match(path)]


def test_a_registered_model_names_what_its_code_imports() -> None:
    model = MODULES["brule.detector.pyfunc"]
    paths = {model, *closure(model, at_once=True)}
    libraries = {name for path in paths for name in imports(path, at_once=True) if not name.startswith("brule")}
    needed = {{"PIL": "pillow"}.get(name, name) for name in libraries - sys.stdlib_module_names}
    assert needed == set(REQUIREMENTS)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_reads_a_file_when_imported(name: str) -> None:
    readers = re.compile(r"(^|\.)(open|read|read_text|read_bytes|read_csv|load|loads?_\w+|loadtxt|glob|imread)$")

    def running(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield child
                yield from running(child)

    calls = [node for node in running(ast.parse(MODULES[name].read_text())) if isinstance(node, ast.Call)]
    assert not [ast.unparse(call) for call in calls if readers.search(ast.unparse(call.func))]


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_unpickled(name: str) -> None:
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        for word in node.keywords if isinstance(node, ast.Call) else ():
            unsafe = (word.arg, ast.unparse(word.value)) in {("allow_pickle", "True"), ("weights_only", "False")}
            assert not unsafe, f"{name}:{word.value.lineno}"


@pytest.mark.parametrize("name", MODULES)
def test_files_of_others_are_decoded_behind_one_door(name: str) -> None:
    """Whatever opens an image or a video says which formats it may be; photos of users are read by data.photos alone.

    Others open what the project itself has drawn, which is PNG.
    """
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and re.search(
            r"\b(Image|PIL|av|ImageFile|plt|mpimg)\.(open|imread|Parser)$", called
        ):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called == "av.open":
                assert "'w'" in map(ast.unparse, node.args) or "format_whitelist" in given.get("options", "")
            elif short(name) != "data.photos":
                assert given.get("formats") == "['PNG']", f"{name}:{node.lineno} opens an image of any format"
            else:
                assert "FORMATS" in given.get("formats", "")


@pytest.mark.parametrize("name", MODULES)
def test_only_public_names_of_optuna_are_used(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    if "optuna" in text:
        wrong = r"optuna\.[\w.]*\b_\w+|\b(study|trial|storage|distribution)\w*\._\w+|_CachedStorage|_heartbeat\b"
        public = text.replace("heartbeat_interval", "").replace("record_heartbeat", "")
        assert not re.search(wrong, public)


@pytest.mark.parametrize("name", MODULES)
def test_the_processes_of_a_training_talk_through_one_door(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    assert short(name) == "method.ranks" or not re.search(r"torch\.distributed|from torch import .*distributed", text)


@pytest.mark.parametrize("script", sorted((ROOT / "pipelines").glob("*.py")), ids=lambda path: path.stem)
def test_a_script_is_thin(script: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("stage", STAGES)
def test_the_deps_of_a_stage_are_the_folders_whose_code_decides(stage: str) -> None:
    script = ROOT / "pipelines" / f"{stage}.py"
    # maths/family.py is there for params.yaml, of which a stage says itself what it depends on
    paths = {path for path in closure(script) if path.name not in ("__init__.py", "family.py")}
    rooms = {path.relative_to(SOURCE / "brule").parts[0] for path in paths}
    rooms = {room.removesuffix(".py") for room in rooms}
    declared = {dep.removeprefix("src/brule/") for dep in STAGES[stage]["deps"] if dep.startswith("src/")}
    assert all((SOURCE / "brule" / room).exists() for room in declared)
    assert {room.partition("/")[0] for room in declared} <= rooms, "a folder that the stage never opens"
    indifferent = INDIFFERENT | ALSO_INDIFFERENT.get(stage, set())
    assert rooms - declared <= indifferent, "a folder whose code decides what the stage writes"
    if stage == "train":
        assert "detector/plausibility.py" in declared, "its numbers stand in the detector's file"
    assert str(script.relative_to(ROOT)) in STAGES[stage]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_of_a_stage_are_what_its_code_reads(stage: str) -> None:
    script = ROOT / "pipelines" / f"{stage}.py"
    paths = {script, *closure(script)}
    if stage != "train":  # what the tools of the same room read is none of the stage's
        paths = {path for path in paths if path.name not in ("train.py", "tuning.py") or path == script}
    read = {key for path in paths for key in parameters_read(path)}
    read = {key for key in read if key.split(".")[0] not in ("machine", "tracking")}
    declared = set(STAGES[stage]["params"])
    named = {
        "data.source",
        "data.extra",
        "prepare.labelled",
    }  # what a run calls its data, which are a dependency themselves
    assert not {key for key in read - named if not inside(key, tuple(declared))}, "read but not declared"
    assert not {key for key in declared if not any(inside(other, (key,)) or inside(key, (other,)) for other in read)}


def parameters_read(path: Path) -> Iterator[str]:
    """`train.batch_size` for every `config.train.batch_size` in a file, or `parameters.…` in a script."""
    name = "config|parameters" if path.parent.name == "pipelines" else "config"
    holder = re.compile(rf"(?:^|\.)(?:{name})\.([a-z_]+(?:\.[a-z_]+)*)$")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner and (match := holder.search(ast.unparse(node))):
            section, *rest = match[1].split(".")
            if section in Config.model_fields:
                fields = getattr(Config.model_fields[section].annotation, "model_fields", {})
                yield f"{section}.{rest[0]}" if rest and rest[0] in fields else section
