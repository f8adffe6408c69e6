"""The page: its head, its contents in order, and what nobody has to be told twice."""

from __future__ import annotations

from brule.stages import wording
from brule.stages.report import course, results
from brule.stages.report.findings import Findings
from brule.stages.report.html import Html, join, paragraph, tag
from brule.stages.report.style import CSS

_SECTIONS = {
    "Result": results.result,
    "Faces": results.faces,
    "Barycenter": results.barycenter,
    "Generator": results.generator,
    "Training": course.training,
    "Collapse": course.monitors,
    "Tuning": course.tuning,
    "Data": course.data,
    "Cost": course.cost,
    "Use": course.use,
    "Parameters": course.parameters,
    "Origin": course.origin,
}
# Whatever a name or a sentence might smuggle in: no script runs, nothing is fetched.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(run: Findings) -> str:
    """The whole of results/report.html. Pure: the same run gives the same page."""
    written = {name: section(run) for name, section in _SECTIONS.items()}
    sections = {name: content for name, content in written.items() if content}
    links = [tag("a", name, href=f"#{name.lower()}") for name in sections]
    body = join(
        _header(run),
        tag("nav", *links),
        tag("main", *(tag("section", content, id=name.lower()) for name, content in sections.items())),
    )
    head = join(
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{wording.title(run.detector.scheme)} – brule"),
        tag("style", Html(CSS)),
    )
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


def _header(run: Findings) -> Html:
    """What the model is, and how good, for somebody who has never heard of it."""
    return tag(
        "header",
        paragraph("brule · the report of a run", "kicker"),
        tag("h1", wording.title(run.detector.scheme)),
        paragraph(results.purpose(run), "lead"),
        paragraph(wording.verdict(run.report["test"]), "verdict"),
        results.glance(run),
        course.health(run),
    )
