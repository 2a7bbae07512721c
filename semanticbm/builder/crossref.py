"""Numbers for chapters, sections, figures, tables and equations, and references to them.

Quarto's rules, so that both builders print the same numbers: figures, tables and equations count from 1 in each chapter
("Figure 3.2"), sections of the second level too ("Section 3.2"); appendices use letters; an unnumbered chapter has no
numbers of its own, and its figures count without a prefix.

One thing differs. Where a reference to a section stands in an unnumbered chapter, Quarto prints number and title
("1 Counting words"), this preview the number ("Chapter 1"). So `check` refuses such references; a plain link to the
chapter reads the same in both.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from semanticbm.builder import pandoc
from semanticbm.builder.cells import is_cell, read_cell
from semanticbm.builder.project import Chapter

KINDS = {"sec": "Section", "fig": "Figure", "tbl": "Table", "eq": "Equation"}
_REFERENCE = re.compile(rf"^({'|'.join(KINDS)})-")
_EQUATION_LABEL = re.compile(r"^\{#(eq-[^\s}]+)\}(.*)$", re.DOTALL)


@dataclass(frozen=True)
class Label:
    """Something that can be referred to: `word` "Figure", `number` "3.2", and where it is."""

    name: str
    word: str
    number: str
    chapter: Chapter
    title: str = ""

    @property
    def text(self) -> str:
        """What a reference to it says: "Figure 3.2", or the title of an unnumbered section."""
        return f"{self.word} {self.number}".strip() if self.number else self.title


def is_reference(key: str) -> bool:
    """True if a citation key is a cross-reference, such as fig-heads, and no entry of the bibliography."""
    return bool(_REFERENCE.match(key))


def equation_label(element: dict) -> tuple[str, str] | None:
    """For the word after a displayed formula, `{#eq-name}`: the label, and what follows it directly (a full stop)."""
    match = _EQUATION_LABEL.match(element["c"]) if element["t"] == "Str" else None
    return (match.group(1), match.group(2)) if match else None


class Numbering:
    """Hands out the numbers of one chapter, in reading order."""

    def __init__(self, chapter: Chapter):
        self.chapter = chapter
        self.counts: Counter[str] = Counter()

    def label(self, kind: str, name: str) -> Label:
        """The next figure, table or equation."""
        self.counts[kind] += 1
        number = ".".join(filter(None, [self.chapter.number, str(self.counts[kind])]))
        return Label(name, KINDS[kind], number, self.chapter)

    def heading(self, level: int, name: str, title: str, classes: list[str]) -> Label:
        """A heading: level 1 is the chapter, level 2 a section; deeper ones get no number."""
        if level == 1:
            word = "Appendix" if self.chapter.is_appendix else "Chapter"
            return Label(name, word, self.chapter.number, self.chapter, title)
        if level > 2 or not self.chapter.number or "unnumbered" in classes:
            return Label(name, "", "", self.chapter, title)
        self.counts["sec"] += 1
        return Label(name, "Section", f"{self.chapter.number}.{self.counts['sec']}", self.chapter, title)


def labels_of(chapter: Chapter, document: dict) -> list[Label]:
    """All labels of a chapter, in reading order; a name that stands twice is listed twice."""
    numbering, labels = Numbering(chapter), []
    boxes = [block for block in document["blocks"] if block["t"] == "Div"]
    inside_boxes = {id(element) for element in pandoc.elements(boxes)}
    for element in pandoc.elements(document["blocks"]):
        if element["t"] == "Header" and id(element) not in inside_boxes:
            level, (name, classes, _), content = element["c"]
            labels.append(numbering.heading(level, name, pandoc.text_of(content), classes))
        elif is_cell(element):
            name = read_cell(element).label
            kind = name.partition("-")[0]
            labels += [numbering.label(kind, name)] if kind in ("fig", "tbl") else []
        elif element["t"] == "Table" and element["c"][0][0]:
            labels.append(numbering.label("tbl", element["c"][0][0]))
        elif found := equation_label(element):
            labels.append(numbering.label("eq", found[0]))
    return labels


def resolve(blocks: list, chapter: Chapter, labels: dict[str, Label]) -> list:
    """Turn references such as @fig-heads into links; print an unknown one as "?fig-heads" (the check refuses it)."""

    def change(element: dict) -> list[dict] | None:
        if element["t"] != "Cite" or not is_reference(element["c"][0][0]["citationId"]):
            return None
        parts = []
        for citation in element["c"][0]:
            parts += [pandoc.string(","), {"t": "Space"}] if parts else []
            parts.append(_link_to(citation, chapter, labels))
        return parts

    return pandoc.replace(blocks, change)


def _link_to(citation: dict, chapter: Chapter, labels: dict[str, Label]) -> dict:
    label = labels.get(citation["citationId"])
    if label is None:
        return pandoc.string(f"?{citation['citationId']}")
    short = citation["citationMode"]["t"] == "SuppressAuthor" and label.number
    here = label.chapter.path == chapter.path
    address = f"#{label.name}" if here else chapter.link_to(f"{label.chapter.url}#{label.name}")
    text = label.number if short else label.text
    return pandoc.link([pandoc.string(text.replace(" ", "\N{NO-BREAK SPACE}"))], address, ("quarto-xref",))
