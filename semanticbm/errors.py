"""The errors that a user can mend.

Everything that goes wrong because of an input (a text, a name, a file, a network that is not there) is raised as a
`UserError` with one line: what is wrong, and what to do. The command line prints that line and ends with exit code 2.
Any other exception is a bug of this package and keeps its traceback.
"""


class UserError(ValueError):
    """One clear line for the user: what is wrong and what to do about it."""


class TruncationWarning(UserWarning):
    """A pair was longer than the model's window and lost its last document tokens."""


class DataWarning(UserWarning):
    """Some rows of a collection cannot be used and were left out; the message counts them."""
