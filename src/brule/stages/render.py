"""The templates of the model card and of the report, filled in."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from brule.stages import wording


def _prose(text: str) -> Markup:
    """Plain sentences as markup: what stands between `backticks` becomes code, and a number keeps its percent sign."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))).replace(" %", "\N{NO-BREAK SPACE}%"))


def _yaml(value: Any) -> str:
    """A parameter's value as YAML writes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


_TEMPLATES = Environment(
    loader=PackageLoader("brule.stages"),
    undefined=StrictUndefined,  # a value that is missing is an error, not a gap
    # In HTML every value is escaped where it enters; in Markdown a character that is special in HTML stays as it is.
    autoescape=select_autoescape(["html.jinja"]),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {"json": json.dumps, "number": wording.number, "prose": _prose, "yaml": _yaml}


def render(template: str, **facts: Any) -> str:
    """The text of templates/<template>.jinja. Pure: the same facts give the same text."""
    return _TEMPLATES.get_template(f"{template}.jinja").render(wording=wording, **facts)
