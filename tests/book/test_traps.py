"""Lines that pandoc reads as something else: each kind is refused, and what is meant passes."""

import pytest

from semanticbm.builder import pandoc
from semanticbm.builder.traps import trap_problems

REFUSED = {
    "reference and full stop": "See\n@sec-one. And so on.",
    "reference and full stop in a definition": "term\n:   What it is.\n    @sec-one.",
    "reference at the start of a paragraph": "@fig-a) shows it.",
    "reference in brackets": "(@sec-one) shows it.",
    "a year": "It was printed in\n1990. Then came more.",
    "a year at the start": "1990. Then came more.",
    "a year in an item": "- It was printed in\n  1990. Then more.",
    "a number with a bracket": "Of the heads\n12) is the last.",
    "one, wrapped": "It is in part\n1. Then more.",
    "a number that skips": "1. first\n2. second\n4. fourth",
    "a letter": "a. first",
    "an initial": "By\nA. Author and others.",
    "a letter in brackets": "The parts\n(b) and (c) differ.",
    "a Roman number": "In volume\nxiv. of the series.",
    "a hash with a dot": "#. first",
    "a hash": "The place of\n# in the vocabulary",
    "a heading without an empty line": "Text.\n## A section",
    "a minus": "The difference is 5\n- 3 and so on.",
    "a list without an empty line": "Two things:\n* one\n* two",
    "a plus in an item": "- It grows by\n+ 3 and so on.",
    "greater than": "It holds if the value is\n> 3 or so.",
    "a colon": "One line\n: and the rest.",
    "a bar": "The probability\n| d) is small.",
    "verse": "| a line\n| and another",
    "a table without an empty line": "These:\n| a | b |\n|---|---|\n| 1 | 2 |",
    "a caption without a table": "Text.\n\n: A caption",
    "an underline": "Text\n---\nmore",
    "equals signs": "Text\n===\nmore",
    "the target of a link": "[heads]: those of layer 4.",
    "indented text": "Text.\n\n    and more text",
    "settings": "Text.\n\n---\nnote: swallowed\n---\n\nMore.",
    "settings that end with dots": "Text.\n\n---\nnote: swallowed\n...\n\nMore.",
    "an inline value in two lines": "It is `{python} 1 +\n2` in all.",
}
ACCEPTED = {
    "a list": "Two:\n\n1. one\n2. two\n   lines\n3. three",
    "a long list": "\n".join(f"{number}. item" for number in range(1, 13)),
    "a list with code between": "1. one\n\n   ```bash\n   99. code\n   ```\n2. two",
    "nested lists": "- one\n  - a\n  - b\n- two\n  1. c\n  2. d",
    "an item of several lines": "- one item\n  that goes on\n- two",
    "a table with a caption": "| a | b |\n|---|---|\n| 1 | 2 |\n\n: Caption {#tbl-a}",
    "a caption right below": "| a | b |\n|---|---|\n| 1 | 2 |\n: Caption {#tbl-a}",
    "a definition": "term\n:   What it is. See @sec-one.\n\nother\n:   More.\n    Still more.",
    "a reference with a word before it": "See\n@sec-one and @fig-a.\n@lu2025semanticbm say so.",
    "settings at the top": "---\ntitle: One\n---\n\nText.",
    "inline values": "It is `{python} 1 + 2` or `{python} 4`\nin all.",
    "a decimal": "It grew by\n3.5 points, and by\n.5 more.",
    "a note": "Text[^1].\n\n[^1]: A remark.",
    "a quotation": "Text:\n\n> One thought.\n> Another.",
    "code": "```python\n# a comment\n- 1\n@sec.\n```",
    "a box": "::: {.callout-note}\n## Title\nText.\n:::",
    "a heading": "Text.\n\n## A section\nText.",
    "bold at the start": "Text\n**and** *more*\n-3 is negative\n",
}


def traps(text):
    (blocks,) = pandoc.parse_many([text])
    return list(trap_problems(text, {"blocks": blocks}))


@pytest.fixture(scope="module", autouse=True)
def read_all_at_once():
    """One call of pandoc for all texts."""
    pandoc.parse_many([*REFUSED.values(), *ACCEPTED.values()])


@pytest.mark.parametrize("name", REFUSED)
def test_a_trap_is_refused(name):
    assert traps(REFUSED[name])


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_meant_passes(name):
    assert traps(ACCEPTED[name]) == []


def test_the_message_names_line_mark_and_remedy():
    [(line, message)] = traps("First.\n\nSee\n@sec-one. And so on.")
    assert line == 4 and "'@sec-one.'" in message and "put a word before" in message


def test_the_traps_are_real():
    """Pandoc does read some of these as lists, headings and verse; so the rules guard against something."""

    def kinds(text):
        return {element["t"] for element in pandoc.elements(pandoc.parse_many([text]))}

    assert "OrderedList" in kinds(REFUSED["reference and full stop in a definition"])
    assert "OrderedList" in kinds(REFUSED["a year in an item"])
    assert "OrderedList" in kinds(REFUSED["a letter"])
    assert "DefinitionList" in kinds(REFUSED["a colon"])
    assert "LineBlock" in kinds(REFUSED["verse"])
    assert "CodeBlock" in kinds(REFUSED["indented text"])
    assert "Header" in kinds(REFUSED["an underline"])
