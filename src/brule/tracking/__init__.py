"""The door to MLflow: one run per training, continued by evaluation; without MLflow everything works untracked.

A store that cannot be opened fails at the start, in one sentence; a store that fails later is reported once and never
costs the training.
"""

from brule.tracking.run import Run, run

__all__ = ["Run", "run"]
