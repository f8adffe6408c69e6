"""The one exception that reaches a user as a sentence, not a traceback: how it quotes, and what it never tells."""

import re
import reprlib

MOST = 60
"""Characters of a value that a sentence shows."""
_READ = 5000
"""Characters of a text that are looked at."""
_USER = re.compile(r"(?<=://)(?:[^/?#\s]*@|[^/?#\s:]*:(?!\d*[/?#\s])\S*@)")
"""Of an address: user:password@. A password may hold a slash that somebody forgot to encode."""
_QUERY = re.compile(r"(://[^\n?]*\?)(?=\S)\S*?(?=[\"'\])>:;,.]*(?:\s|$))")
"""Of an address, whose path may hold spaces: what follows the question mark, where signatures and tokens stand."""


class BruleError(Exception):
    """Something that a user can correct. The message names the file or the key, the problem, and what to do."""

    def __init__(self, message: object = "") -> None:
        super().__init__(public(str(message)))


def public(text: str) -> str:
    """The text without the secrets in its addresses: https://user:word@host/a.zip?token=x → https://host/a.zip?…"""
    return _QUERY.sub(r"\1…", _USER.sub("", text))


def quoted(value: object) -> str:
    """What a user wrote, as Python writes it: on one line, in at most 60 characters. A longer value is cut at a …

    It costs little whatever the value: a long list is read at its beginning alone, a deep one at its first levels.
    """
    try:
        return brief(_WRITER.repr(value))
    except ValueError:  # Python's limit on the digits of a whole number
        return "a number of thousands of digits"


def brief(text: str) -> str:
    """A text on one line, of at most 60 characters: a longer one ends in a …"""
    start = public(text[:_READ])[: MOST + 1]
    plain = start if start.isprintable() else repr(start)[1:-1]
    return plain if len(plain) <= MOST else f"{plain[: MOST - 1]}…"


class _Writer(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        """Secrets are taken out first: of a text that is cut, nobody could tell where they stand."""
        return super().repr_str(public(x[:_READ]), level)


_WRITER = _Writer()
_WRITER.maxlevel = 4
_WRITER.maxstring = _WRITER.maxlong = _WRITER.maxother = MOST
_WRITER.fillvalue = "…"
