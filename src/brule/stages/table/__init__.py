"""The results table: its rows are data (experiments/tables/), its runs are DVC experiments, its memory is a ledger."""

from brule.stages.table.launcher import Launcher
from brule.stages.table.markdown import publish, render
from brule.stages.table.plan import Anchor, Job, Row, Table, chosen, plan, read
from brule.stages.table.results import Entry, Ledger, collect, current, take
from brule.stages.table.runs import Summary, complete, overview

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
