"""package/: the sampler as OptunaHub takes it, a folder that stands alone once its link is followed."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "package" / "samplers" / "golden_section"
ALONE = """
import sys
import optuna, optunahub
module = optunahub.load_local_module("samplers/golden_section", registry_root=sys.argv[1])
optunahub.load_module = lambda package: module
optuna.logging.set_verbosity(optuna.logging.ERROR)
exec(compile(open(module.__path__[0] + "/example.py").read(), "example.py", "exec"), {"__name__": "__main__"})
study = optuna.create_study(sampler=module.GoldenSectionSampler(seed=0), direction="maximize")
study.optimize(lambda trial: -abs(trial.suggest_float("x", 0, 1) - 0.3), n_trials=30)
assert study.best_value > -0.01, study.best_value
assert not [name for name in sys.modules if name.partition(".")[0] == "brule"]
"""


def front_matter() -> dict[str, object]:
    head = (PACKAGE / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    return dict(YAML(typ="safe").load(head))


@pytest.mark.parametrize("copied", [False, True], ids=["linked", "copied"])
def test_the_package_runs_its_example_and_a_study_without_brule(copied: bool, tmp_path: Path) -> None:
    registry = ROOT / "package"
    if copied:
        registry = tmp_path / "package"
        shutil.copytree(PACKAGE, registry / "samplers" / "golden_section")  # follows links, as cp -rL does
        assert not any(path.is_symlink() for path in registry.rglob("*"))
    command = [sys.executable, "-I", "-c", ALONE, str(registry)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5 and "best so far" in result.stdout


def test_the_code_is_the_one_of_brule() -> None:
    link = PACKAGE / "golden_section.py"
    assert link.is_symlink() and not link.readlink().is_absolute()
    assert link.resolve() == ROOT / "src" / "brule" / "method" / "golden_section.py"


def test_the_code_needs_nothing_but_optuna_and_numpy() -> None:
    tree = ast.parse((PACKAGE / "golden_section.py").read_text(encoding="utf-8"))
    names = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    outside = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside == {"optuna", "numpy"}


def test_the_front_matter_is_what_the_hub_asks_for() -> None:
    matter = front_matter()
    assert matter.keys() == {"author", "title", "description", "tags", "optuna_versions", "license"}
    tags, versions = matter["tags"], matter["optuna_versions"]
    assert isinstance(tags, list) and "sampler" in tags
    assert isinstance(versions, list) and optuna.__version__ in versions
    assert matter["license"] == "MIT License"
    assert (PACKAGE / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")
