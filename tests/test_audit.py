"""`make audit` says what it found, and also if it could not look. pip-audit itself is a stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "audit.py"
SOUND = {"name": "numpy", "version": "1.0", "vulns": []}
FLAWED = {"name": "torch", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
UNSEEN = {"name": "scipy", "skip_reason": "Dependency not found on PyPI and could not be audited: scipy (1.0)"}
OFFLINE = "Traceback:\nrequests.exceptions.ConnectionError: Failed to resolve the name"

CASES: dict[str, tuple[Any, str, int, str]] = {
    "none": ([SOUND, SOUND], "", 0, "none of the 2 pinned libraries has a known vulnerability"),
    "one": ([SOUND, FLAWED], "", 1, "torch 2.0: PYSEC-1, mended in 2.1"),
    "one, and one that is not known": ([FLAWED, UNSEEN], "", 1, "torch 2.0: PYSEC-1, mended in 2.1"),
    "some that are not known": ([SOUND, UNSEEN], "", 2, "1 of 2 libraries could not be looked up: scipy"),
    "an index without them": ([UNSEEN] * 3, "", 2, "the vulnerability database knows none of the 3 libraries"),
    "nothing": ([], "", 2, "the vulnerability database knows none of the 0 libraries"),
    "no connection": (None, OFFLINE, 2, "could not be asked (requests.exceptions.ConnectionError: Failed to resolve"),
    "silence": (None, "", 2, "could not be asked (it says nothing)"),
}


def audit(folder: Path) -> tuple[int, str, str]:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    told = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=env)
    return told.returncode, told.stdout, told.stderr


@pytest.mark.parametrize("name", CASES)
def test_it_says_what_it_found_and_what_it_could_not_look_up(name: str, tmp_path: Path) -> None:
    found, complaint, code, sentence = CASES[name]
    (tmp_path / "pip_audit").mkdir()
    answer = "" if found is None else json.dumps({"dependencies": found, "fixes": []})
    words = f"import sys\nassert 'constraints.txt' in ' '.join(sys.argv)\nprint({answer!r})\n"
    (tmp_path / "pip_audit" / "__init__.py").touch()  # without it an installed one would go before
    (tmp_path / "pip_audit" / "__main__.py").write_text(f"{words}print({complaint!r}, file=sys.stderr)\n")
    got, out, err = audit(tmp_path)
    assert got == code and sentence in out + err and "Traceback" not in out + err
    assert (code == 2) == (err.startswith("audit: ") and "PYSEC" not in out)


def test_without_pip_audit_it_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "pip_audit.py").write_text("raise ModuleNotFoundError('No module named pip_audit')\n")
    code, _, told = audit(tmp_path)
    assert code == 2 and told == "audit: pip-audit is not installed; run `pip install -e '.[dev]' -c constraints.txt`\n"
