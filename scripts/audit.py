"""Known vulnerabilities of the pinned libraries, as pip-audit finds them: `make audit`.

Exit code 0: none of them has a known one. 1: some have. 2: not all could be looked up, so nothing is known about those.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINNED = Path(__file__).resolve().parents[1] / "constraints.txt"
COMMAND = [sys.executable, "-m", "pip_audit", "-r", str(PINNED), "--no-deps", "--disable-pip", "--format", "json"]
NAMED = 5
"""Libraries that a sentence names, at most."""


def main() -> int:
    told = subprocess.run([*COMMAND, "--progress-spinner", "off"], capture_output=True, text=True, check=False)
    if "No module named pip_audit" in told.stderr:
        return unknown("pip-audit is not installed; run `pip install -e '.[dev]' -c constraints.txt`")
    try:
        every: list[dict[str, Any]] = json.loads(told.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):  # it prints no table if the database does not answer
        reason = (told.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return unknown(f"the vulnerability database could not be asked ({reason[:200]}); try again with a connection")
    found = [one for one in every if one.get("vulns")]
    unseen = [one["name"] for one in every if "vulns" not in one]
    for one in found:
        for flaw in one["vulns"]:
            mend = ", ".join(flaw.get("fix_versions", [])) or "no version yet"
            print(f"{one['name']} {one['version']}: {flaw['id']}, mended in {mend}")
    if not every or len(unseen) == len(every):
        return unknown(
            f"the vulnerability database knows none of the {len(every)} libraries; try again with a connection"
        )
    if unseen:
        more = f" and {len(unseen) - NAMED} more" if len(unseen) > NAMED else ""
        code = unknown(
            f"{len(unseen)} of {len(every)} libraries could not be looked up: {', '.join(unseen[:NAMED])}{more}"
        )
        return 1 if found else code
    if not found:
        print(f"none of the {len(every)} pinned libraries has a known vulnerability")
    return 1 if found else 0


def unknown(sentence: str) -> int:
    print(f"audit: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
