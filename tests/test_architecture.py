"""The rules of the house: who imports whom, one door per library, small files, honest stage deps."""

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

FOUNDATION = ("errors", "files")
LARGE = {"golden_section.py": 390}  # one file, since it is published alone as well, in package/samplers
# Where a module lies → what of brule it may import. The longest match counts.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "files": ("errors",),
    "entry": ("errors",),
    "machine": ("errors",),
    "console": ("errors",),
    "stopping": ("errors",),
    "summary": ("method",),
    "shipping": ("method.training", "detector", "gan", "data.crop"),
    "config": ("config", "errors"),
    "maths": ("maths", "errors"),
    "networks": ("networks",),
    "method": ("method", "maths", "networks", "data.faces", "data.schemes", "config", *FOUNDATION),
    "method.losses": ("maths",),
    "method.algorithm1": ("method", "maths", "config"),
    "method.algorithm2": ("method", "maths", "config"),
    "data": ("data", "maths", "config", "photos", *FOUNDATION),
    "photos": ("errors",),
    "prediction": ("photos", "data.crop", "maths.heatmaps", "errors"),
    "detector": (
        *("networks.hourglass", "maths.heatmaps", "maths.pixels", "data.schemes", "data.crop", "photos", "prediction"),
        *("weights", *FOUNDATION),
    ),
    "cli": (
        *("cli", "entry", "detector", "prediction", "photos", "data.crop", "data.landmarks", "data.progress"),
        *("data.schemes", "export", "figures", "serving.server", "loading", "loopback", *FOUNDATION),
        *("answers", "demo", "video", "following"),
    ),
    "video": FOUNDATION,
    "smoothing": (),
    "following": ("detector", "prediction", "smoothing", "video", "errors"),
    "answers": ("prediction", "data.landmarks"),
    "demo": (
        *("demo", "detector", "prediction", "photos", "gan", "networks.style", "weights", "answers", "wording"),
        *("figures", "data", "entry", "loopback", *FOUNDATION),
    ),
    "loopback": ("errors",),
    "loading": ("detector", "tracking.registry", "errors"),
    "serving.protocol": ("errors",),
    "serving": ("serving", "detector", "photos", "errors"),
    "export": ("detector", "prediction", "maths.heatmaps", *FOUNDATION),
    "gan": ("networks.generator", "networks.style", "maths.heatmaps", "maths.pixels", "weights", *FOUNDATION),
    "figures": ("figures", "data.schemes", *FOUNDATION),
    "tracking": ("tracking", "config", *FOUNDATION),
    "experiments": ("config", *FOUNDATION),
    "identity": ("config", "errors"),
    "table": ("table", "experiments", "identity", "tracking", "config", *FOUNDATION),
    "paper": (
        *("paper", "figures", "tracking", "table", "experiments", "detector", "gan", "scoring", "wording"),
        *("data.faces", "maths.heatmaps", *FOUNDATION),
    ),
    "weights": FOUNDATION,
    "wording": ("data.schemes", "detector", *FOUNDATION),
    "card": ("wording", "detector", *FOUNDATION),
    "report": ("report", "wording", "maths.metrics", "data.schemes", "detector", *FOUNDATION),
    "scoring": ("maths", "data.faces", "detector", *FOUNDATION),
    "generation": ("maths", "detector", "gan", *FOUNDATION),
    "evaluation": (
        *("maths.metrics", "data", "detector", "gan", "figures", "scoring", "generation", "card"),
        *("wording", "report"),
        *("tracking", "machine", "config"),
        *FOUNDATION,
    ),
    "study.marks": (),
    "study.storage": ("study.marks", *FOUNDATION),
    "study": (
        *("study", "method", "maths.pixels", "detector", "gan", "inputs", "figures", "tracking", "console", "machine"),
        *("stopping", "shipping", "experiments", "config"),
        *FOUNDATION,
    ),
    "inputs": ("method.training", "data.faces", "detector", "config", *FOUNDATION),
    "trainer": (
        *("method", "data", "figures", "tracking", "console", "machine", "stopping", "summary", "shipping"),
        *("inputs", "identity", "maths.pixels", "config"),
        *FOUNDATION,
    ),
}
# A library → the only modules that may import it.
DOORS: dict[str, tuple[str, ...]] = {
    "ot": ("maths.transport",),
    "optuna": ("method.golden_section", "method.tuning", "study"),
    "sqlalchemy": ("study.storage",),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), ("export",)),
    "mlflow": ("tracking", "serving.pyfunc"),
    "starlette": ("demo", "serving.server", "loopback"),
    "uvicorn": ("loopback",),
    "kornia": ("maths", "networks.layers"),
    "matplotlib": ("figures",),
    "pooch": ("data.fetch",),
    "ruamel": ("config", "experiments"),
    "safetensors": ("weights",),
    "av": ("video",),
    **dict.fromkeys(("dvc", "hydra", "omegaconf", "torchvision", "pickle", "dill", "yaml"), ()),
}
# A wing → the only libraries it may import.
LIBRARIES: dict[str, set[str]] = {
    "maths": {"torch", "numpy", "scipy", "ot", "kornia"},
    "networks": {"torch", "kornia"},
    "method.losses": {"torch"},
    "data": {"numpy", "scipy", "pandas", "PIL", "pooch", "rich"},
    "data.landmarks": {"numpy"},
    "data.synthetic": {"numpy", "scipy", "PIL"},
    "config": {"pydantic", "ruamel"},
    "photos": {"numpy", "PIL"},
    "smoothing": {"numpy"},
    "video": {"numpy", "av"},
    "prediction": {"torch", "numpy"},
    "export": {"torch", "numpy", "onnx", "onnxruntime", "onnxscript"},
    "serving": {"numpy", "pydantic"},
    "serving.server": {"starlette"},
    "loopback": {"starlette", "uvicorn"},
    "serving.pyfunc": {"mlflow"},
}


def inside(name: str, wings: tuple[str, ...]) -> bool:
    return any(name == wing or name.startswith(f"{wing}.") for wing in wings)


def longest(table: dict[str, Any], name: str) -> Any:
    return table.get(max((wing for wing in table if inside(name, (wing,))), key=len, default=""))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield child
            yield from statements(child)


@cache
def imports(path: Path) -> frozenset[str]:
    """The dotted names that a file imports: modules of brule in full, of other packages the package alone."""
    found: set[str] = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            base = str(node.module)
            assert base in MODULES or base.split(".")[0] != "brule", f"{path}: there is no {base}"
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names}
    return frozenset(name if name.startswith("brule") else name.partition(".")[0] for name in found)


def holds_code(path: Path) -> bool:
    """False for an `__init__.py` with nothing but its docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def closure(script: Path) -> set[Path]:
    """Every file of brule that runs when `script` does: its imports, theirs, and the packages these lie in."""
    todo, seen = [script], {script}
    while todo:
        for name in imports(todo.pop()):
            parts = name.split(".")
            parents = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            for path in {MODULES[parent] for parent in parents if parent in MODULES} - seen:
                seen.add(path)
                todo.append(path)
    return {path for path in seen - {script} if holds_code(path)}


def short(name: str) -> str:
    return name.removeprefix("brule").lstrip(".")


@pytest.mark.parametrize("name", [name for name in MODULES if short(name)])
def test_a_module_imports_only_what_its_wing_may(name: str) -> None:
    allowed = longest(ALLOWED, short(name))
    if name.count(".") == 1 and MODULES[name].name == "__init__.py" and not holds_code(MODULES[name]):
        return
    assert allowed is not None, f"{name} has no place in the house yet: give it a line in ALLOWED"
    inner = {short(other) for other in imports(MODULES[name]) if other.split(".")[0] == "brule"}
    assert not {other for other in inner if not inside(other, allowed)}, f"{name} may import only {allowed}"


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
    graph = {name: {n for n in imports(path) if n in MODULES and n != name} for name, path in MODULES.items()}
    while leaves := {name for name, others in graph.items() if not others & set(graph)}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert not graph, f"a circle among {sorted(graph)}"


def test_inference_loads_no_gan_no_method_no_tracking() -> None:
    loaded = {str(path.relative_to(SOURCE / "brule")) for path in closure(MODULES["brule.detector.model"])}
    wrong = re.compile(r"method/|config|tracking|figures|networks/(generator|discriminator|style)")
    assert not [path for path in loaded if wrong.match(path)]


def test_a_registered_model_names_what_its_code_imports() -> None:
    model = MODULES["brule.detector.model.pyfunc"]
    libraries = {name for path in {model, *closure(model)} for name in imports(path) if not name.startswith("brule")}
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


@pytest.mark.parametrize(
    "path", [*MODULES.values(), *sorted((ROOT / "pipelines").glob("*.py"))], ids=lambda path: path.stem
)
def test_files_are_small_and_named_for_what_they_hold(path: Path) -> None:
    limit = 50 if path.parent.name == "pipelines" else LARGE.get(path.name, 220)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


@pytest.mark.parametrize("stage", STAGES)
def test_the_deps_of_a_stage_are_what_its_script_imports(stage: str) -> None:
    script = ROOT / "pipelines" / f"{stage}.py"
    code = {str(path.relative_to(ROOT)) for path in {script, *closure(script)}}
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    block = "\n".join(f"      - {path}" for path in sorted(code))
    assert declared == code, f"the code among the deps of {stage} in dvc.yaml should be\n{block}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_of_a_stage_are_what_its_code_reads(stage: str) -> None:
    script = ROOT / "pipelines" / f"{stage}.py"
    read = {key for path in {script, *closure(script)} for key in parameters_read(path)}
    declared = set(STAGES[stage]["params"])
    assert not {key for key in read if not inside(key, tuple(declared))}, "read but not declared"
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
