"""The errors that a user can mend.

Everything that goes wrong because of an input (a text, a name, a file, a network that is not there) is raised as a
`UserError` with one line: what is wrong, and what to do. The command line prints that line and ends with exit code 2.
Any other exception is a bug of this package and keeps its traceback.
"""

import sys
import warnings


class UserError(ValueError):
    """One clear line for the user: what is wrong and what to do about it."""


class TruncationWarning(UserWarning):
    """A pair was longer than the model's window and lost its last document tokens."""


class DataWarning(UserWarning):
    """Some rows of a collection cannot be used and were left out; the message counts them."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn, and name the line outside this package that led here, however deep inside the matter was noticed."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "semanticbm":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
