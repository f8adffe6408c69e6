"""results/report.html: one page that shows a whole run, and needs nothing but itself."""

from brule.stages.report.findings import Findings
from brule.stages.report.page import page
from brule.stages.report.pictures import gather

__all__ = ["Findings", "gather", "page"]
