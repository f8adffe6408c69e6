"""Everything that can go wrong, by the thousand: files, sources, requests, kills, full disks."""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from brule.terminal import track
from campaign import crew, pipeline
from campaign.crew import Case, Told
from campaign.kinds import KINDS


def small() -> list[Case]:
    """Some of every kind, the same ones every time."""
    return [Case(kind, seed) for kind, how in KINDS.items() for seed in range(how.small)]


def large(count: int, seed: int) -> Iterator[Case]:
    """A random order, in which each kind has its share from the beginning on."""
    rng, kinds, shares = random.Random(seed), list(KINDS), [how.share for how in KINDS.values()]
    for _ in range(count):
        yield Case(rng.choices(kinds, shares)[0], rng.randrange(10**9))


def report(told: list[Told], console: Console) -> None:
    """A table of what was tried, and of every failure the line that repeats it."""
    counts = Counter((each.case.kind, each.verdict) for each in told)
    table = Table("kind", "tried", "failed", "not tried", box=None)
    for kind in KINDS:
        passed, failed, untried = (counts[kind, verdict] for verdict in ("passed", "failed", "not tried"))
        if passed + failed + untried:
            table.add_row(kind, str(passed + failed), str(failed or ""), str(untried or ""))
    failed, untried = (sum(n for (_, v), n in counts.items() if v == verdict) for verdict in ("failed", "not tried"))
    table.add_row("all", str(len(told) - untried), str(failed or ""), str(untried or ""), style="bold")
    console.print(table)
    for each in told:
        if each.verdict == "failed":
            line = f'make campaign FLAGS="--kind {each.case.kind} --seed {each.case.seed}"'
            console.print(f"{line}\n    {each.why}", highlight=False, markup=False, soft_wrap=True)
    for why, count in Counter(each.why for each in told if each.verdict == "not tried").items():
        console.print(f"not tried: {count} ({why})", highlight=False, markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("--small", action="store_true", help="what the tests try")
    parser.add_argument("--cases", type=int, default=6000, metavar="N", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=18, help="no case begins later; default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of a campaign, or with --kind of one case")
    parser.add_argument("--kind", help="only this case, or only kinds that begin so and end in /")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="campaign-")
    os.environ |= {pipeline.WORK: work, "MPLCONFIGDIR": work, "OMP_NUM_THREADS": "1"}
    end = time.monotonic() + 60 * args.minutes
    try:
        if args.kind in KINDS:
            cases = [Case(args.kind, args.seed)]
        else:
            cases = small() if args.small else list(large(args.cases, args.seed))
            cases = [case for case in cases if case.kind.startswith(args.kind or "")]
        told = list(track(crew.tried(cases, min(args.workers, len(cases)), end), "campaign", len(cases)))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report(told, Console(width=200 if not sys.stdout.isatty() else None))
    return int(any(each.verdict == "failed" for each in told))


if __name__ == "__main__":
    sys.exit(main())
