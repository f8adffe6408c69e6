"""The one exception that reaches a user as a sentence instead of a traceback, and what no sentence tells."""

import re

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
