"""All that talks to MLflow: `run` writes, `past` reads, `registry` keeps the detectors; `store` says where, and
`database` looks after the project's own file. A training has one run, which its evaluation continues.

Without MLflow everything works untracked. A store that cannot be opened, or that fails later, is told of once, in one
sentence, and never costs the training.
"""

from brule.tracking.run import Run, run, title

__all__ = ["Run", "run", "title"]
