"""Lines that pandoc reads as something else than their author meant.

A paragraph is wrapped by an editor, and by chance a line begins with "1990." or "@sec-idf.". In some places pandoc then
starts a list, swallows the mark, or prints a heading; in others it does not, and the two builders and the EPUB may
differ. No warning is given. So a few beginnings of lines are refused wherever they were not clearly meant:

- `@name.` and `(@name)`: an example list;
- a number, a letter or `#` with a dot or bracket: a list (meant if it starts with 1 after an empty line, or goes on);
- `#`, `-`, `+`, `*`, `>` after a line of prose: a heading, a list or a quotation that lacks its empty line;
- `:` after prose: the line before becomes a term; `|`: a table that is none, or verse;
- a line of `---` or `===` after prose: a heading;
- `[name]: ...`: the line vanishes; four spaces after an empty line: a block of code;
- `---` after an empty line: settings, which are not printed;
- an inline value that goes on in the next line: Quarto looks for values line by line, and prints its code.

When it misleads: a list that is meant may be refused too. An empty line before it, or another break of the line before,
is the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from semanticbm.builder import pandoc

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_NUMBER = re.compile(r"(\d+)[.)](\s|$)")
_BULLET = re.compile(r"[-+*]\s")
_ITEM = re.compile(r"(\d+[.)]|[-+*]|:)\s")
_CAPTION = re.compile(r":\s{1,2}\S")
_ROW = re.compile(r"\|.*\|")
_SPLIT_VALUE = re.compile(r"`\{python\}[^`]*$")
MARKS = [
    (re.compile(r"\(?@[\w-]+[.)](\s|$)"), "an example list: put a word before the reference"),
    (re.compile(r"\(?([A-Za-z]|[ivxlcdm]{2,}|#)[.)]\s"), "a lettered list: break the line elsewhere"),
]
AT_THE_START = [
    (re.compile(r"\[(?!\^)[^\]]+\]:\s"), "the target of a link, which is not printed: put a word before it")
]
AFTER_PROSE = [
    (
        re.compile(r"#{1,6}(\s|$)"),
        "no heading, or by chance one: put an empty line before it, or break the line elsewhere",
    ),
    (re.compile(r"[-+*]\s"), "a list or plain text: put an empty line before a list, or break the line elsewhere"),
    (re.compile(r">"), "a quotation or plain text: put an empty line before it, or break the line elsewhere"),
    (re.compile(r":\s{1,2}\S"), "a definition of the line before: break the line elsewhere"),
    (re.compile(r"\|"), "plain text, no table: put an empty line before a table, or break the line elsewhere"),
    (re.compile(r"(-{2,}|={2,})\s*$"), "the underline of a heading: put an empty line before it"),
]


@dataclass(frozen=True)
class Line:
    """One line of prose: its number in the file, its text without indentation, and the indentation in spaces."""

    number: int
    text: str
    indent: int


def paragraphs(source: str) -> Iterator[list[Line]]:
    """Runs of lines without an empty line between them. Code blocks, fences of boxes and front matter end a run."""
    run, fence = [], ""
    lines = source.splitlines()
    head = 1 + lines.index("---", 1) if lines[:1] == ["---"] and "---" in lines[1:] else 0
    for number, text in enumerate(lines[head:], start=head + 1):
        mark = _FENCE.match(text)
        if mark and (not fence or mark.group(1).startswith(fence)):
            fence = "" if fence else mark.group(1)
        plain = not fence and not mark and text.strip() and not text.lstrip().startswith(":::")
        if plain:
            run.append(Line(number, text.strip(), len(text) - len(text.lstrip())))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _is_wanted_item(line: Line, before: list[Line]) -> bool:
    """True for a bullet beside or below earlier ones of the same run, and for a definition's next paragraph."""
    return bool(_ITEM.match(before[0].text)) and (
        any(
            _BULLET.match(other.text) and (other.indent, other.text[0]) == (line.indent, line.text[0])
            for other in before
        )
        or bool(_ITEM.match(before[-1].text) and line.indent > before[-1].indent)
    )


def _is_wanted_row(line: Line, before: list[Line]) -> bool:
    """True for a row or caption below a row, and for a line of a quotation."""
    return bool(line.text[0] in "|:" and _ROW.match(before[-1].text)) or line.text[0] == before[-1].text[0] == ">"


def trap_of(line: Line, before: list[Line]) -> str:
    """What pandoc may make of a line, and the remedy; "" if the line is safe. `before`: the lines above in its run."""
    wanted = before and (_is_wanted_item(line, before) or _is_wanted_row(line, before))
    marks = MARKS + (AFTER_PROSE if before and not wanted else [] if before else AT_THE_START)
    return next((meaning for mark, meaning in marks if mark.match(line.text)), "")


def number_trap(line: Line, before: list[Line], counts: dict[int, int]) -> str:
    """The same for a number with a dot: wanted are 1 at the beginning of a run or below an item, and the next number.

    counts: {indentation: last number of the list there}; brought up to date.
    """
    number = _NUMBER.match(line.text)
    if not number:
        return ""
    value = int(number.group(1))
    may_begin = not before or (_BULLET.match(before[-1].text) and before[-1].indent < line.indent)
    if value != counts.get(line.indent, -1) + 1 and not (value == 1 and may_begin):
        return "a numbered list: break the line elsewhere, or let the list begin with 1 after an empty line"
    counts[line.indent] = value
    return ""


def line_traps(source: str) -> Iterator[tuple[int, str]]:
    """The number of each line that is a trap, and a message."""
    counts: dict[int, int] = {}
    last_line = ""
    for run in paragraphs(source):
        if _CAPTION.match(run[0].text) and not _ROW.match(last_line):
            yield run[0].number, "a caption (a line that begins with :) has no table right before it."
        if run[0].text == "---":
            yield run[0].number, "the line begins settings (---), which are not printed: leave it out."
        last_line = run[-1].text
        if not run[0].indent and not _ITEM.match(run[0].text):
            counts.clear()  # prose at the margin ends every list
        for place, line in enumerate(run):
            if _SPLIT_VALUE.search(line.text):
                yield line.number, "an inline value goes on in the next line, where Quarto prints its code: join them."
            if meaning := trap_of(line, run[:place]) or number_trap(line, run[:place], counts):
                yield line.number, f"the line begins with {line.text.split()[0]!r}, which pandoc may read as {meaning}."


def tree_traps(source: str, document: dict) -> Iterator[tuple[int, str]]:
    """Traps that show in pandoc's tree: lists nobody numbers so, verse, indented code."""
    fenced = {
        line.strip()
        for run in re.findall(r"^\s*(?:`{3,}|~{3,})[^\n]*\n(.*?)^\s*(?:`{3,}|~{3,})", source, re.M | re.S)
        for line in run.splitlines()
    }
    for element in pandoc.elements(document["blocks"]):
        kind, content = element["t"], element.get("c")
        if kind == "OrderedList" and (content[0][0] != 1 or content[0][1]["t"] not in ("Decimal", "DefaultStyle")):
            yield 0, "a list that does not count 1, 2, 3: write plain numbers from 1, or break the line elsewhere."
        elif kind == "LineBlock":
            yield 0, "lines that begin with | became verse: complete the table, or break the line elsewhere."
        elif kind == "CodeBlock" and content[1].strip() and content[1].strip().splitlines()[0].strip() not in fenced:
            yield 0, f"indented text became code ({content[1].strip()[:40]!r}): indent it by less than four spaces."


def trap_problems(source: str, document: dict) -> Iterator[tuple[int, str]]:
    """All traps of a chapter: line number (0 if not known) and message."""
    yield from line_traps(source)
    yield from tree_traps(source, document)
