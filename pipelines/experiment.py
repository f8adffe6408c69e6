"""Run a named set of overrides from experiments/ as a DVC experiment of that name, or several laid over each other."""

import argparse
import os
import sys
from pathlib import Path

from brule import terminal
from brule.stages import experiments

EPILOG = """\
examples:
  python pipelines/experiment.py --list
  python pipelines/experiment.py smoke
  python pipelines/experiment.py 300w-unsupervised -S data.location=/path/to/300w.zip
  python pipelines/experiment.py no-geometry --queue       then: dvc queue start
  python pipelines/experiment.py butterflies fine          the values of the second over those of the first
An experiment starts from the committed params.yaml. Compare the results with `dvc exp show`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="name", help="a file of experiments/, without .yaml; of several, later ones win"
    )
    parser.add_argument(
        "-S", metavar="KEY=VALUE", action="append", default=[], help="another override; may be repeated"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace an earlier run of this name; what is cached is not run again"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--queue", action="store_true", help="only put it in the queue")
    how.add_argument(
        "--temp", action="store_true", help="run it in a temporary folder and leave the workspace as it is"
    )
    how.add_argument("--write", action="store_true", help="only write its parameters to params.yaml; run nothing")
    how.add_argument("--list", action="store_true", help="list the experiments and what each one shows")
    args = parser.parse_args()
    root = Path()
    if not args.names and (args.queue or args.temp or args.write or args.force or args.S):
        parser.error("which experiment? give its name; --list shows them all")
    if args.list or not args.names:
        for name, title in experiments.catalogue(root / "experiments").items():
            print(f"{name:24} {title}")
        return
    wanted = experiments.plan(root, args.names[0], args.S, args.names[1:])
    if args.write:
        experiments.write(root, wanted)
        return
    # The stages call `python`, which should be this one.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    flags = [f"--{flag}" for flag in ("queue", "temp") if getattr(args, flag)]
    sys.exit(experiments.run(root, "-".join(args.names), wanted, flags, replace=args.force))


if __name__ == "__main__":
    terminal.main(main)
