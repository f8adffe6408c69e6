"""The one exception that reaches a user as a sentence, not a traceback: how long, how quoted, and what it hides."""

import re
import reprlib

LONGEST = 380
"""Characters of a sentence."""
_END = 130
"""Of a longer one, so many from its end remain: the mend. The others are its beginning, with the file or the key."""
MOST = 60
"""Characters of a value that a sentence shows."""
_READ = 5000
"""Characters of a text that are looked at."""
_USER = re.compile(r"""(?<=://)[^/?#\s]*@|(?:(?<=/)|(?<![^\s"'(\[]))[^/?#\s:@"'(\[]*:(?!\d*(?:[/?\s]|$))\S{,999}@""")
"""Of an address, also of one that is not whole: user:password@. A password may hold a slash that somebody forgot to
encode."""
_QUERY = re.compile(r"(://[^\n?]{,999}\?)(?=\S)\S*?(?=[\"'\])>:;,.]*(?:\s|$))")
"""Of an address, whose path may hold spaces: what follows the question mark, where signatures and tokens stand."""
_REST = re.compile(r"(://[^\s?]{,999}?[#;])[^\s=\"')\]>]{,99}=[^\s\"')\]>]*")
"""Of an address: parameters in other places, as in a.zip;token=x and a.zip#sig=x."""


class BruleError(Exception):
    """Something that a user can correct. The message names the file or the key, the problem, and what to do.

    Whatever names it holds, it is one line of limited length, without secrets: see `sentence`.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(sentence(str(message)))


def sentence(text: str) -> str:
    """The text on one line of at most 380 characters, as `public` shows it. The middle of a longer one becomes a …"""
    line = _escaped(public(text))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - _END - 1]}…{line[-_END:]}"


def public(text: str) -> str:
    """The text without the secrets in its addresses: https://user:word@host/a.zip?token=x → https://host/a.zip?…"""
    return _REST.sub(r"\1…", _QUERY.sub(r"\1…", _USER.sub("", text)))


def quoted(value: object) -> str:
    """What a user wrote, as Python writes it: on one line, in at most 60 characters. A longer value is cut at a …

    It costs little whatever the value: a long list is read at its beginning alone, a deep one at its first levels.
    """
    try:
        return brief(_WRITER.repr(value))
    except ValueError:  # Python's limit on the digits of a whole number
        return "a number of thousands of digits"


def counted(number: int, thing: str) -> str:
    """`1 photo`, `12 photos`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def brief(text: str) -> str:
    """A text on one line, of at most 60 characters: a longer one ends in a …"""
    line = _escaped(public(text[:_READ])[: MOST + 1])
    return line if len(line) <= MOST else f"{line[: MOST - 1]}…"


def _escaped(text: str) -> str:
    """The text with what cannot be printed as Python writes it: a line break as \\n."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class _Writer(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        """Secrets are taken out first: of a text that is cut, nobody could tell where they stand."""
        return super().repr_str(public(x[:_READ]), level)


_WRITER = _Writer()
_WRITER.maxlevel = 4
_WRITER.maxstring = _WRITER.maxlong = _WRITER.maxother = MOST
_WRITER.fillvalue = "…"
