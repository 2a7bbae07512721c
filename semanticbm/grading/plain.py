"""Text from students that acts nowhere: not in a terminal, a table, a spreadsheet or a web page."""

from __future__ import annotations

import unicodedata

MAX_LENGTH = 4000
FORMULA = tuple("=+-@\t\r\n")


def inert(text: str, lines: bool = True) -> str:
    """The text without escape codes and other characters that a terminal or editor acts on; they are spelt out.

    Line ends stay if `lines`; lone surrogates (bytes of a file name that are no UTF-8) are spelt out, too.
    """
    text = str(text)
    cut = text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 4] + " ..."
    return "".join(one if (lines and one == "\n") else _shown(one) for one in cut)


def _shown(one: str) -> str:
    # Cc control, Cf format (bidirectional marks), Cs surrogate, Co private, Cn unassigned, Zl and Zp line ends
    if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return one.encode("unicode_escape").decode()
    return one


def cell(text: str) -> str:
    """A text for a spreadsheet: one line, and no formula, also behind blanks."""
    text = inert(text, lines=False)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text
