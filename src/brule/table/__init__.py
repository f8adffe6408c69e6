"""The results table: its rows are data (experiments/tables/), its runs DVC experiments, its memory a ledger of runs."""

from brule.table.jobs import Job, chosen, plan
from brule.table.launching import Launcher
from brule.table.ledger import Entry, Ledger
from brule.table.rows import Anchor, Row, Table, read
from brule.table.running import Summary, complete, current, overview
from brule.table.tracked import collect, take
from brule.table.writing import publish, render

__all__ = [
    "Anchor",
    "Entry",
    "Job",
    "Launcher",
    "Ledger",
    "Row",
    "Summary",
    "Table",
    "chosen",
    "collect",
    "complete",
    "current",
    "overview",
    "plan",
    "publish",
    "read",
    "render",
    "take",
]
