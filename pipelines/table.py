"""Run every row of a results table that has no result yet, then write the table to results/ and docs/results.md."""

import argparse
import os
import signal
import sys
from pathlib import Path

from brule import terminal
from brule.stages import table

EPILOG = """\
example:
  python pipelines/table.py table1 -S data.location=/path/to/300w -S data.extra.location=/path/to/img_align_celeba
Kill it at any time and start it again: what has finished is not repeated, until its parameters or the method change.
A finished run in MLflow that has a row's parameters and start is that row's result, whoever ran it.
For other data first delete models/<name>/ and results/<name>.json, and set MLFLOW_TRACKING_URI to another store."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", nargs="?", default="table1", help="a file of experiments/tables/, without .yaml")
    parser.add_argument("-S", metavar="KEY=VALUE", action="append", default=[], help="an override for every run")
    parser.add_argument(
        "--rows", metavar="NAME", nargs="+", default=[], help="only these rows, and those they start from"
    )
    parser.add_argument("--seeds", metavar="N", nargs="+", type=int, default=[], help="only the runs of these seeds")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="runs at once, each on a GPU of its own")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--render", action="store_true", help="only write the table from what is measured; run nothing")
    how.add_argument("--list", action="store_true", help="list the rows and how many of their runs are measured")
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f"--workers {args.workers}: should be at least 1")
    root, name = Path(), args.name
    rows = table.read(root, name)
    jobs, ledger = table.plan(root, name, rows, args.S), table.Ledger(root, name)
    todo = table.chosen(jobs, args.rows, args.seeds)
    if args.list:
        print(table.overview(todo, table.current(jobs, ledger.entries())))
        return
    for sentence in table.take(jobs, ledger):
        print(sentence)
    # The stages call `python`, which should be this one.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    summary = table.Summary()
    try:
        if not args.render:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # as a Ctrl-C: no run may outlive us
            with table.Launcher(root, args.workers) as launch:
                summary = table.complete(todo, ledger, name, launch, args.workers)
    finally:  # after a Ctrl-C, too
        written = table.publish(root, name, rows, jobs, ledger)
    print("\n".join([*summary.skipped, *summary.failed, *(f"wrote {path}" for path in written)]))
    sys.exit(bool(summary.failed))


if __name__ == "__main__":
    terminal.main(main)
