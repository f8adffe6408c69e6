"""Elements of a page. A text is escaped where it enters one, unless it is markup already: nothing can be forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_VOID = {"img", "meta"}


class Html(str):
    """Text that is markup already."""


def safe(text: str) -> Html:
    """A text as markup: escaped, or itself where it is Html."""
    return text if isinstance(text, Html) else Html(escape(text))


def join(*pieces: str) -> Html:
    """Pieces on lines of their own; empty ones are left out."""
    return Html("\n".join(safe(piece) for piece in pieces if piece))


def tag(name: str, /, *pieces: str, **attributes: str) -> Html:
    """`<name key="value">pieces</name>`; `class_` is the attribute class."""
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    start = f"<{name}{given}>"
    return Html(start if name in _VOID else f"{start}{''.join(safe(piece) for piece in pieces)}</{name}>")


def prose(text: str) -> Html:
    """A sentence in which `backticks` mark code."""
    return Html(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)))


def paragraph(text: str, class_: str = "") -> Html:
    """A paragraph of prose; nothing of an empty one."""
    attributes = {"class_": class_} if class_ else {}
    return tag("p", prose(text), **attributes) if text else Html()


def bullets(lines: Iterable[str]) -> Html:
    """A list of prose."""
    return tag("ul", *(tag("li", prose(line)) for line in lines))


def code(text: str) -> Html:
    """Lines to copy."""
    return tag("pre", tag("code", text))


def table(head: Iterable[str], rows: Iterable[Iterable[str]], class_: str = "numbers") -> Html:
    """The first cell of a row names it. It scrolls by itself where the screen is narrow."""
    above = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    below = [tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows]
    return tag("div", tag("table", tag("thead", above), tag("tbody", *below), class_=class_), class_="scroll")


def definitions(facts: Iterable[tuple[str, str]]) -> Html:
    """Names and their values, in two columns."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts))


def details(summary: str, *pieces: str) -> Html:
    """Folded up until it is asked for."""
    return tag("details", tag("summary", summary), *pieces)
