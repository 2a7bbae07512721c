"""Pandoc's document tree, as plain Python lists and dicts.

Pandoc reads markdown into a tree and writes HTML from one. In JSON each element is {"t": type, "c": content}.
Everything the preview does happens on this tree between reading and writing; so it never searches markdown with
patterns, except for one line: the opening fence of a code cell, which is Quarto's own notation and gets a form that
pandoc knows.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pypandoc

from semanticbm.errors import UserError

READER = "markdown"
_CELL_FENCE = re.compile(r"^(`{3,}|~{3,})\s*\{([A-Za-z]+)[^}]*\}\s*$")


def mark_cells(source: str) -> str:
    """Write the opening line of each code cell in pandoc's notation, with language and line number as attributes."""
    lines = source.splitlines()
    for number, line in enumerate(lines):
        if fence := _CELL_FENCE.match(line):
            lines[number] = f'{fence.group(1)} {{.cell language="{fence.group(2)}" line="{number + 1}"}}'
    return "\n".join(lines) + "\n"


@cache
def _program() -> str:
    return pypandoc.get_pandoc_path()


def _run(text: str, to: str, source_format: str, arguments: list[str]) -> str:
    """One run of pandoc. Not by `pypandoc.convert_text`, which asks for pandoc's version and formats before each."""
    command = [_program(), f"--from={source_format}", f"--to={to}", *arguments]
    try:
        done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=True)
    except subprocess.CalledProcessError as error:
        raise UserError(f"pandoc failed: {(error.stderr.strip() or 'no message').splitlines()[-1][:200]}") from None
    except OSError as error:
        raise UserError(f"pandoc does not start: {error.strerror}.") from None
    return done.stdout


def parse(source: str) -> dict:
    """Read markdown into a document tree."""
    return json.loads(_run(mark_cells(source), "json", READER, []))


_read_before: dict[str, list[dict]] = {}


def parse_many(fragments: list[str]) -> list[list[dict]]:
    """Read many pieces of markdown: the blocks of each.

    All pieces that were not read before take one call of pandoc together; it starts slowly, so callers that know many
    pieces pass them at once.
    """
    new = [fragment for fragment in dict.fromkeys(fragments) if fragment not in _read_before]
    if new:
        fence = "::::::::::::"
        text = "\n\n".join(f"{fence} {{.piece}}\n{fragment}\n{fence}" for fragment in new)
        pieces = [block["c"][1] for block in parse(text)["blocks"]]
        _read_before.update(zip(new, pieces, strict=True))
    return [copy.deepcopy(_read_before[fragment]) for fragment in fragments]


def to_html(
    document: dict, bibliography: Path, metadata: dict[str, str] | None = None, filters: Sequence[Path] = ()
) -> str:
    """Write a document tree as an HTML fragment: MathML, citations from `bibliography`, notes at the end.

    `filters` are Lua files, run after the citations.
    """
    arguments = ["--mathml", "--wrap=none"]
    if bibliography.is_file():
        arguments += ["--citeproc", f"--bibliography={bibliography}", "--metadata=link-citations:true"]
    arguments += [f"--lua-filter={path}" for path in filters]
    arguments += [f"--metadata={name}:{value}" for name, value in (metadata or {}).items()]
    return _run(json.dumps(document), "html5", "json", arguments)


def write(document: dict, to: str, arguments: Sequence[str]) -> str:
    """Write a document tree as text in any of pandoc's formats."""
    return _run(json.dumps(document), to, "json", list(arguments))


def write_file(document: dict, to: str, file: Path, arguments: Sequence[str]) -> None:
    """Write a document tree as a file that is no text, such as an EPUB."""
    write(document, to, [*arguments, f"--output={file}"])


def to_markdown(document: dict, bibliography: Path) -> str:
    """Write a document tree as the markdown that notebooks know, with citations in words."""
    arguments, text = ["--wrap=none"], json.dumps(document)
    if '"t": "Cite"' in text and bibliography.is_file():  # reading the bibliography takes most of pandoc's time
        arguments += ["--citeproc", f"--bibliography={bibliography}", "--metadata=suppress-bibliography:true"]
    return _run(text, "commonmark+pipe_tables+tex_math_dollars+raw_html", "json", arguments)


def citation_keys(bibliography: Path) -> set[str]:
    """The keys of a BibTeX file, as pandoc reads it."""
    if not bibliography.is_file():
        return set()
    entries = json.loads(_run(bibliography.read_text(encoding="utf-8"), "csljson", "biblatex", []))
    return {entry["id"] for entry in entries}


# --------------------------------------------------------------------------------------------------------------------
# Walking


def elements(node) -> Iterator[dict]:
    """All elements below `node`, in reading order."""
    if isinstance(node, dict):
        if "t" in node:
            yield node
        for value in node.values():
            yield from elements(value)
    elif isinstance(node, list):
        for value in node:
            yield from elements(value)


def replace(node, change: Callable[[dict], list[dict] | None]):
    """A copy of `node` in which each element for which `change` returns a list is replaced by that list.

    What `change` returns is not walked again; an element for which it returns None is kept and its children are walked.
    """
    if isinstance(node, list):
        result = []
        for value in node:
            new = change(value) if isinstance(value, dict) and "t" in value else None
            result += [replace(value, change)] if new is None else new
        return result
    if isinstance(node, dict):
        return {name: replace(value, change) for name, value in node.items()}
    return node


def text_of(node) -> str:
    """The plain text of an element, without notes."""
    parts = []
    for element in elements(node):
        if element["t"] == "Str":
            parts.append(element["c"])
        elif element["t"] in ("Space", "SoftBreak", "LineBreak"):
            parts.append(" ")
        elif element["t"] in ("Code", "Math"):
            parts.append(element["c"][1])
    return "".join(parts)


# --------------------------------------------------------------------------------------------------------------------
# Building


def attributes(identifier: str = "", classes: tuple[str, ...] = (), **pairs: str) -> list:
    """Pandoc's triple of identifier, classes and key-value pairs."""
    return [identifier, list(classes), [[name, value] for name, value in pairs.items()]]


def string(text: str) -> dict:
    """A word."""
    return {"t": "Str", "c": text}


def raw(html: str, inline: bool = False) -> dict:
    """A piece of HTML that pandoc passes on untouched."""
    return {"t": "RawInline" if inline else "RawBlock", "c": ["html", html]}


def strong(content: list[dict]) -> dict:
    """Bold words."""
    return {"t": "Strong", "c": content}


def link(content: list[dict], target: str, classes: tuple[str, ...] = ()) -> dict:
    """A link."""
    return {"t": "Link", "c": [attributes(classes=classes), content, [target, ""]]}


def div(content: list[dict], identifier: str = "", classes: tuple[str, ...] = ()) -> dict:
    """A block with an identifier or classes."""
    return {"t": "Div", "c": [attributes(identifier, classes), content]}


def span(content: list[dict], identifier: str = "", classes: tuple[str, ...] = ()) -> dict:
    """A piece of a line with an identifier or classes."""
    return {"t": "Span", "c": [attributes(identifier, classes), content]}
