"""Exercise files as text: make a solved file fresh again, and merge new exercises into a reader's file.

An exercise is a function with the line `# 1.1  difficulty ...` above it. Its stub has a docstring and
`raise NotImplementedError("Exercise 1.1: write idf")`, and nothing else. So every file can be turned back into stubs, and
whether a reader has begun an exercise can be seen from the text alone.

Only Python's own library is used here: the wheel is built with it, before anything is installed.

When it misleads: a comment in a stub counts as begun, so `merge` leaves that exercise as it is.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_TITLE = re.compile(r"^# (\d+\.\d+)  difficulty ")


@dataclass(frozen=True)
class Stub:
    """One exercise in a file. Lines count from 0: title, first line of the body after the docstring, end of the body."""

    name: str
    number: str
    title: int
    body: int
    end: int


def exercises_of(text: str) -> list[Stub]:
    """The exercises of a file, in order. Raises `SyntaxError` for text that is not Python."""
    lines = _lines(text)
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
            title = _TITLE.match(lines[first - 1]) if first else None
            if title:
                documented = ast.get_docstring(node) is not None
                body = node.body[0].end_lineno if documented else node.body[0].lineno - 1
                found.append(Stub(node.name, title.group(1), first - 1, body, node.end_lineno))
    return found


def _lines(text: str) -> list[str]:
    """The lines as Python's parser counts them; `str.splitlines` also ends a line at a form feed, for example."""
    return text.removesuffix("\n").split("\n")


def _raise(stub: Stub) -> str:
    return f'    raise NotImplementedError("Exercise {stub.number}: write {stub.name}")'


def fresh(text: str) -> str:
    """The file with every exercise to do: what stands below a docstring becomes the stub's one line again."""
    lines = _lines(text)
    for stub in reversed(exercises_of(text)):
        lines[stub.body : stub.end] = [_raise(stub)]
    return "\n".join(lines) + "\n"


def is_begun(text: str, stub: Stub) -> bool:
    """True if the reader changed anything below the docstring."""
    return [line for line in _lines(text)[stub.body : stub.end] if line.strip()] != [_raise(stub)]


@dataclass(frozen=True)
class Merged:
    """A reader's file after a merge, and the names of the exercises that were added, renewed and kept."""

    text: str
    added: list[str]
    renewed: list[str]
    kept: list[str]


def merge(own: str, shipped: str) -> Merged:
    """Bring the exercises of `shipped` into the reader's file `own`: new ones are added at its end, stubs that nobody
    began are renewed, everything else stays.

    Raises `SyntaxError` if `own` is not Python.
    """
    lines, stubs = _lines(own), {stub.name: stub for stub in exercises_of(own)}
    functions = {node.name for node in ast.parse(own).body if isinstance(node, ast.FunctionDef)}
    chunks = {stub.name: _lines(shipped)[stub.title : stub.end] for stub in exercises_of(shipped)}
    added = [name for name in chunks if name not in functions]
    renewed = [
        name
        for name, stub in stubs.items()
        if name in chunks and not is_begun(own, stub) and lines[stub.title : stub.end] != chunks[name]
    ]
    for name in reversed(renewed):
        lines[stubs[name].title : stubs[name].end] = chunks[name]
    for name in added:
        lines += ["", "", *chunks[name]]
    if added or renewed:
        lines = _with_imports(lines, shipped)
    return Merged("\n".join(lines) + "\n", added, renewed, sorted(functions & set(chunks) - set(renewed)))


def _with_imports(lines: list[str], shipped: str) -> list[str]:
    """The lines, and below the docstring the imports that only the shipped file has."""
    tree = ast.parse("\n".join(lines))
    own = {ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    wanted = [ast.unparse(node) for node in ast.parse(shipped).body if isinstance(node, ast.Import | ast.ImportFrom)]
    missing = [line for line in wanted if line not in own]
    if not missing:
        return lines
    documented = ast.get_docstring(tree) is not None
    place = tree.body[0].end_lineno if documented else 0
    return [*lines[:place], *[""] * documented, *missing, *lines[place:]]
