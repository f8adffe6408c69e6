"""Run or reuse every row of a results table, then write the table into results/ and the README."""

import argparse
import os
import sys
from pathlib import Path

from brule import terminal as entry
from brule.stages import table

EPILOG = """\
example:
  python pipelines/table.py table1 -S data.location=/path/to/300w -S data.extra.location=/path/to/img_align_celeba
Kill it at any moment and call it again: what has finished is not run again, until its parameters or the code change.
A finished run in MLflow with a row's parameters, start and code is that row's result, whoever started it.
For other data first delete models/<name>/ and results/<name>.json, and set MLFLOW_TRACKING_URI to another store."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", nargs="?", default="table1", help="a file of experiments/tables/, without .yaml")
    parser.add_argument("-S", metavar="KEY=VALUE", action="append", default=[], help="an override for every run")
    parser.add_argument("--rows", metavar="NAME", nargs="+", default=[], help="only these, and what they start from")
    parser.add_argument("--seeds", metavar="N", nargs="+", type=int, default=[], help="only the runs of these seeds")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--render", action="store_true", help="write the table from what is measured; run nothing")
    how.add_argument("--list", action="store_true", help="the rows, and how many of their runs are measured")
    args = parser.parse_args()
    root, name = Path(), args.name
    rows = table.read(root, name)
    jobs, ledger = table.plan(root, name, rows, args.S), table.Ledger(root, name)
    todo = table.chosen(jobs, args.rows, args.seeds)
    if args.list:
        print(table.overview(todo, table.current(jobs, ledger.entries())))
        return
    for sentence in table.take(jobs, ledger):
        print(sentence)
    # The stages call `python`: let that be this one.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    summary = table.Summary()
    try:
        if not args.render:
            summary = table.complete(todo, ledger, name, table.Launcher(root))
    finally:  # also what was measured before a Ctrl-C
        written = table.publish(root, name, rows, jobs, ledger)
    print("\n".join([*summary.skipped, *summary.failed, *(f"wrote {path}" for path in written)]))
    sys.exit(bool(summary.failed))


if __name__ == "__main__":
    entry.main(main)
