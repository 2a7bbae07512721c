"""What a chapter shows besides figures: tables, and the library's own source. Both are given as markdown.

Why markdown: the book is read as web pages, as an EPUB, on paper and in notebooks. Every one of them knows a markdown
table; only browsers know the HTML that pandas writes, and for its sake Quarto loads two scripts from the network.

When it misleads: a table shows as many decimals as its numbers have, so round to what the data can tell before you
show it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

MOST_DECIMALS = 6
MISSING = "-"
_NUMBER = re.compile(r"[+-]?(\d[\d,]*)?\.?\d+(e[+-]?\d+)?\s?%?")
_BARE_PIPE = re.compile(r"(?<!\\)\|")
_INTERVAL = re.compile(r"\[([+-]?[\d.]+), ([+-]?[\d.]+)\]")


@dataclass(frozen=True)
class Shown:
    """Markdown that notebooks and both builders display. `data`: the markdown."""

    data: str

    def _repr_markdown_(self) -> str:
        return self.data


def decimals_of(values: pd.Series) -> int:
    """How many decimals the numbers of a column have, 6 at most."""
    known = values.dropna()  # in their own precision: the float32 nearest to 0.003 has many decimals in float64
    exact = (places for places in range(MOST_DECIMALS) if (known.round(places) == known).all())
    return next(exact, MOST_DECIMALS)


def _texts(values: pd.Series) -> list[str]:
    """The cells of one column: numbers with the same number of decimals, a dash where a value is missing."""
    places = decimals_of(values) if pd.api.types.is_float_dtype(values) else None
    cells = []
    for value in values:
        missing = value is None or (isinstance(value, float) and pd.isna(value))
        cell = MISSING if missing else str(value) if places is None else f"{value:.{places}f}"
        cell = _INTERVAL.sub("[\\1,\N{NO-BREAK SPACE}\\2]", " ".join(cell.split()))  # an interval stays in one line
        cells.append(_BARE_PIPE.sub(r"\\|", cell))
    return cells


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as first column, unless the index only counts the rows."""
    if frame.index.name is None and pd.api.types.is_integer_dtype(frame.index):
        return frame
    names = [name for name in (frame.index.name, frame.columns.name) if name]
    return frame.rename_axis(index=", ".join(names), columns=None).reset_index()


def table(rows: pd.DataFrame | pd.Series | Sequence[Mapping]) -> Shown:
    """A table for display.

    rows: a data frame, a series, or one mapping {column: value} for each row. Texts are markdown, so a piece such as
    `*` goes in backticks. Columns of numbers are set to the right. The index is shown if it has a name or holds texts.
    """
    frame = rows.to_frame() if isinstance(rows, pd.Series) else pd.DataFrame(rows)
    frame = _with_index(frame)
    columns = {str(name): _texts(frame.iloc[:, place]) for place, name in enumerate(frame.columns)}
    numeric = [all(_NUMBER.fullmatch(cell) or cell in ("", MISSING) for cell in cells) for cells in columns.values()]
    sides = ["right" if is_number else "left" for is_number in numeric]
    body = list(zip(*columns.values(), strict=True))
    return Shown(
        tabulate(body, list(columns), tablefmt="pipe", disable_numparse=True, colalign=sides if body else None)
    )


def source(*functions: Callable) -> Shown:
    """The source of functions or classes of the library, as a block of Python."""
    texts = (inspect.getsource(function).strip() for function in functions)
    return Shown("```python\n" + "\n\n\n".join(texts) + "\n```")
