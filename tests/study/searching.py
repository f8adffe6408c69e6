"""What tests/study/test_outages.py starts: `searching.py URL STEPS PATIENCE SECONDS`, a worker as `make tune` has them.

Its trials take that many seconds each. It prints the number of every trial that it begins.
"""

import sys
import time
from pathlib import Path

import optuna

sys.path.insert(0, str(Path(__file__).parent))
import errands

from brule import terminal
from brule.stages import storage
from brule.stages.study import join


def main() -> None:
    url, steps, patience, seconds = sys.argv[1:]
    storage.PATIENCE = float(patience)
    search = errands.sampler()
    shared = join(url, "search", search)

    def objective(trial: optuna.Trial) -> float:
        print(trial.number, flush=True)
        time.sleep(float(seconds))
        return errands.loss(errands.suggested(trial))

    with shared.reaching(), shared.working():
        while len(shared.again(lambda: search.path(shared.study))) < int(steps):
            shared.attempt(objective)


if __name__ == "__main__":
    terminal.main(main)
