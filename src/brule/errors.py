"""The one exception that reaches a user as a sentence instead of a traceback."""


class BruleError(Exception):
    """Something that a user can correct. The message names the file or the key, the problem, and what to do."""
