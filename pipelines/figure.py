"""Draw one of the paper's figures from one's own runs, as a PNG."""

import argparse
from pathlib import Path

from brule import terminal
from brule.stages.paper import Request, catalogue

EPILOG = f"""\
figures:
{catalogue.overview()}
examples:
  python pipelines/figure.py fig4
  python pipelines/figure.py fig3 --runs 300w-supervised-plain 300w-supervised
  python pipelines/figure.py fig8 --runs collapse --out collapse.png"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", nargs="?", choices=catalogue.FIGURES, help="which figure of the paper")
    parser.add_argument(
        "--runs",
        metavar="NAME",
        nargs="+",
        default=[],
        help="fig3, fig6, fig8: rows of the results table, DVC experiments, or names or ids of MLflow's runs",
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="the picture; default: results/paper/NAME.png")
    parser.add_argument("--detector", type=Path, default=Request.detector, help="fig4, 5, 7; default: %(default)s")
    parser.add_argument("--gan", type=Path, default=Request.gan, help="fig4, 5; default: %(default)s")
    parser.add_argument("--style", type=int, default=0, metavar="N", help="fig5: which style, from 0")
    parser.add_argument(
        "--list", action="store_true", help="list the figures, what each shows and what it is drawn from"
    )
    args = parser.parse_args()
    if args.list or not args.name:
        print(catalogue.overview())
        return
    if args.runs and not catalogue.FIGURES[args.name].runs:
        parser.error(f"{args.name} is drawn from models/ and data/crops, not from --runs; see --detector and --gan")
    if args.out and args.out.suffix.lower() != ".png":
        parser.error(f"--out {args.out}: the picture is a PNG; give a name that ends in .png")
    out = args.out or Path("results/paper") / f"{args.name}.png"
    for sentence in catalogue.draw(args.name, Request(out, tuple(args.runs), args.detector, args.gan, args.style)):
        print(sentence)
    print(f"wrote {out}")


if __name__ == "__main__":
    terminal.main(main)
