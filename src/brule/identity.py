"""What makes two trainings the same one, wherever they ran: their parameters, their labels, the code that computes.

`train` writes this digest into its MLflow run, and the results table knows by it which row a run belongs to.
"""

import ast
import hashlib
import json
from pathlib import Path

from brule.config import Config, flatten
from brule.errors import BruleError

ELSEWHERE = (
    *("data.location", "data.sha256", "data.extra.location", "data.extra.sha256"),
    *("train.initial", "train.threads", "train.precision", "tracking"),
)
"""Parameters that say where and how a run works, not what it computes (`train.initial`: its content counts).

A clone without the data thus finds the committed results; that one location holds other data than another is not seen.
"""
COMPUTES = (
    *("maths", "networks", "method", "photos.py", "data/crop.py", "data/framing.py", "data/splits.py"),
    *("data/labelled.py", "data/choosing.py", "data/preparing.py"),
)
"""The code under src/brule that decides what a network learns; what reads, measures and draws around it is left out."""


def content(root: Path, config: Config, computes: str) -> str:
    """Digest of the parameters, of the list of labelled images that they name, below `root`, and of the code.

    A stage without iterations is as good as not there. Raises BruleError where that list cannot be read.
    """
    flat = flatten(config)
    idle = [f"train.stages.{name}" for name, stage in config.train.stages.items() if not stage.iterations]
    left_out = (*ELSEWHERE, *idle)
    kept = {key: value for key, value in flat.items() if not any(f"{key}.".startswith(f"{e}.") for e in left_out)}
    digest = hashlib.sha256(json.dumps([kept, computes], sort_keys=True).encode())
    if labelled := flat["prepare.labelled"]:
        try:
            digest.update((root / labelled).read_bytes())
        except OSError:
            raise BruleError(f"prepare.labelled: {labelled} cannot be read; name a file of image names") from None
    return digest.hexdigest()


def started(content: str, weights: str | None) -> str:
    """16 hexadecimal digits: that content, started from the weights of this digest (None: from random ones)."""
    return hashlib.sha256(f"{content} {weights}".encode()).hexdigest()[:16]


def sha(weights: bytes) -> str:
    """What a detector's file is called: 16 digits of its content's sha256."""
    return hashlib.sha256(weights).hexdigest()[:16]


def code(package: Path) -> str:
    """Digest of the code that computes, without its comments and docstrings: a better sentence costs no hour."""
    paths = [path for part in COMPUTES for path in sorted((package / part).glob("*.py")) or [package / part]]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(package)}\n{_bare(path)}\n".encode())
    return digest.hexdigest()[:16]


def _bare(path: Path) -> str:
    """A syntax tree knows no comments and no layout; what Python versions add to one when empty is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            strings = [n for n in body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
            node.body = [n for n in body if n not in strings]  # type: ignore[attr-defined]
    return _dump(tree)


def _dump(value: object) -> str:
    if isinstance(value, ast.AST):
        fields = [f"{name}={_dump(inner)}" for name, inner in ast.iter_fields(value) if inner not in (None, [])]
        return f"{type(value).__name__}({','.join(fields)})"
    return f"[{','.join(map(_dump, value))}]" if isinstance(value, list) else repr(value)
