"""The results of the benchmarks as tables: in the terminal and in Markdown."""

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pieces import PARTS
from rich.console import Console
from rich.table import Table

from brule.errors import BruleError


class Section(NamedTuple):
    """One table: rows of part, `brule`'s milliseconds and share, the straightforward ones', and their ratio."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


HEAD = ("part", "`brule`, ms", "share", "straightforward, ms", "ratio")


def sections(result: dict[str, Any]) -> Iterator[Section]:
    for name, step in result["steps"].items():
        ours, theirs = step["brule"], step["straightforward"]
        rows = [_row(part, ours.get(part, 0.0), theirs.get(part, 0.0), ours["total"]) for part in _order(ours, theirs)]
        rate = " against ".join(f"{step['images'] / each['total']:.1f}" for each in (ours, theirs))
        yield Section(f"{name} step: {rate} images a second", HEAD, rows)
    rows = [_row(part, pair["brule"], pair["straightforward"], None) for part, pair in result["alone"].items()]
    yield Section("single pieces, forward and backward, float32", HEAD, rows)


def _order(*steps: dict[str, float]) -> list[str]:
    """The parts that take any time, as they follow each other; the total last."""
    order = [f"{algorithm}{part}" for algorithm in ("", "1: ", "2: ") for part in PARTS]
    return [*sorted(set().union(*steps) - {"total"}, key=order.index), "total"]


def _row(part: str, ours: float, theirs: float, total: float | None) -> tuple[str, ...]:
    share = f"{100 * ours / total:.1f} %" if total else ""
    return part, f"{1e3 * ours:.2f}", share, f"{1e3 * theirs:.2f}", f"{theirs / ours:.1f}" if ours > 1e-6 else ""


def show(result: dict[str, Any]) -> None:
    """Print every table."""
    printed(_setting(result), sections(result))


def printed(setting: str, tables: Iterable[Section]) -> None:
    """Print what holds for all tables, and the tables."""
    console = Console(width=None if sys.stdout.isatty() else 120)  # rich takes a log to be 80 wide
    console.print(setting)
    for title, head, rows in tables:
        table = Table(title=title, title_justify="left")
        for column in head:
            table.add_column(column.replace("`", ""), justify="left" if column == head[0] else "right")
        for row in rows:
            table.add_row(*row, style="bold" if row[0] == "total" else None)
        console.print(table)


def _setting(result: dict[str, Any]) -> str:
    threads = "thread" if result["threads"] == 1 else "threads"
    return f"{result['device'].upper()}, {result['threads']} {threads}, medians of {result['repeats']} turns"


def filled(text: str, result: dict[str, Any]) -> str:
    """The README with the tables between its two markers. Raises BruleError where they are missing."""
    return written(text, "training", _setting(result), sections(result))


def written(text: str, marker: str, setting: str, tables: Iterable[Section]) -> str:
    """The README with these tables between the two markers of that name. Raises BruleError where they are missing."""
    pieces = [f"{setting}."]
    for title, head, rows in tables:
        lines = [head, ("---",) + ("---:",) * (len(head) - 1), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        pieces.append(f"**{title[0].upper()}{title[1:]}**\n\n{table}")
    marked = re.compile(f"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if not marked.search(text):
        raise BruleError(f"benchmarks/README.md: the markers <!-- {marker} --> are missing; put them back")
    body = "\n\n".join(pieces)
    return marked.sub(lambda found: f"{found[1]}{body}\n{found[2]}", text)
