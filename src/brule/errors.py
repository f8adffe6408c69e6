"""The one exception that reaches a user as a sentence instead of a traceback."""


class BruleError(Exception):
    """Something a user can mend. The message names the file or the key, what is wrong, and the mend."""
