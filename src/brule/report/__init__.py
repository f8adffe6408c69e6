"""results/report.html: one page that shows a whole run, and needs nothing but itself."""

from brule.report.findings import Findings
from brule.report.page import page
from brule.report.pictures import gather

__all__ = ["Findings", "gather", "page"]
