"""The results table: its rows are data (experiments/tables/), its runs DVC experiments, its memory a ledger of runs."""

from brule.stages.table.jobs import Job, chosen, plan
from brule.stages.table.launching import Launcher
from brule.stages.table.ledger import Entry, Ledger
from brule.stages.table.rows import Anchor, Row, Table, read
from brule.stages.table.running import Summary, complete, current, overview
from brule.stages.table.tracked import collect, take
from brule.stages.table.writing import publish, render

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
