"""Code cells and inline values: what has to be run, in reading order."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from semanticbm.builder.pandoc import elements
from semanticbm.errors import UserError

OPTION_MARK = "#|"
INLINE_MARK = "{python} "


@dataclass(frozen=True)
class Cell:
    """One piece of code to run. `inline` marks a value inside a sentence; `line` is 0 there."""

    code: str
    options: dict = field(default_factory=dict)
    line: int = 0
    inline: bool = False
    language: str = "python"

    @property
    def label(self) -> str:
        """The cell's label, or ""."""
        return str(self.options.get("label", ""))

    @property
    def place(self) -> str:
        """How messages name this cell."""
        if self.inline:
            return f"inline value `{self.code}`"
        return f"line {self.line}" + (f" (cell {self.label})" if self.label else "")


def is_cell(element: dict) -> bool:
    """True for a code cell (not for a code block that is only shown)."""
    return element["t"] == "CodeBlock" and "cell" in element["c"][0][1]


def is_inline_value(element: dict) -> bool:
    """True for `{python} expression` inside a sentence."""
    return element["t"] == "Code" and element["c"][1].startswith(INLINE_MARK)


def read_cell(element: dict) -> Cell:
    """The cell of an element for which `is_cell` or `is_inline_value` holds."""
    if element["t"] == "Code":
        return Cell(element["c"][1][len(INLINE_MARK) :].strip(), inline=True)
    attributes = dict(element["c"][0][2])
    lines = element["c"][1].splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith(OPTION_MARK)), len(lines))
    line = int(attributes["line"])
    try:
        options = yaml.safe_load("\n".join(line[len(OPTION_MARK) :].removeprefix(" ") for line in lines[:count])) or {}
    except yaml.YAMLError as error:
        raise UserError(
            f"line {line}: the cell's options are not YAML ({str(error).splitlines()[0]}): put quotes "
            "around texts that hold a colon."
        ) from None
    if not isinstance(options, dict):
        raise UserError(f"line {line}: the cell's options must be `name: value`.")
    return Cell("\n".join(lines[count:]).strip("\n"), options, line, language=attributes["language"])


def cells_of(document: dict) -> list[Cell]:
    """All cells and inline values of a document tree, in reading order."""
    found = (element for element in elements(document["blocks"]) if is_cell(element) or is_inline_value(element))
    return [read_cell(element) for element in found]
