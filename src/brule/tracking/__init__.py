"""All that talks to MLflow: `run` writes, `past` reads, `registry` keeps the detectors. A training has one run, which
its evaluation continues.

Without MLflow everything works untracked. A store that cannot be opened ends a command at its start, in one sentence. A
store that fails later is reported once and never costs the training.
"""

from brule.tracking.run import Run, run

__all__ = ["Run", "run"]
