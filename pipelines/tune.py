"""Search for the coefficients c5–c10 from the trained models: random directions, golden section (section 2)."""

import argparse
from pathlib import Path

from brule import config, terminal
from brule.stages.tune import tune
from brule.stages.worker import Address

EPILOG = """\
It starts from models/, as `dvc repro` or an experiment left them. A trial trains for tuning.iterations iterations and
is scored by W₁ on the validation split; the test split is never opened. Kill it at any time: the same command goes on.
The same command in another terminal joins the search. Other machines join it with --storage and a shared --snapshots.
examples:
  python pipelines/tune.py --trials 40 --workers 2
  python pipelines/tune.py --storage postgresql://user@host/studies --snapshots /shared/snapshots
  optuna-dashboard tuning/study.journal          (pip install optuna-dashboard) on 127.0.0.1:8080"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, metavar="N", help="in all; default: %(default)s")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes on this machine; default: %(default)s"
    )
    parser.add_argument(
        "--name", default="c5-c10", help="of the study, where a storage holds several; default: %(default)s"
    )
    parser.add_argument("--storage", default="journal:tuning/study.journal", metavar="URL", help="default: %(default)s")
    parser.add_argument("--snapshots", type=Path, default=Path("tuning/snapshots"), help="folder of what trials left")
    args = parser.parse_args()
    for option in ("trials", "workers"):
        if getattr(args, option) < 1:
            parser.error(f"--{option} {getattr(args, option)}: should be at least 1")
    tune(config.read("params.yaml"), Address(args.storage, args.name, args.snapshots), args.trials, args.workers)


if __name__ == "__main__":
    terminal.main(main)
