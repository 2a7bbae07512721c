"""The libraries that a student's file imports: loaded before the student's time begins, or not at all.

PyTorch and nnsight take seconds to import, and most functions of a file do not touch them. Where a file says `import torch`
and nothing outside its functions uses it, annotations left unread by `from __future__ import annotations`, the name stands
for a `Later`: the library is loaded when a function that uses it is asked, still before the student's time begins. In all
other files a library is loaded when the file is opened.

When it misleads: a library that a function reaches in another way, through a class or `sys.modules`, say, is loaded when it
is touched, and the time is the student's.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

LATE = ("torch", "nnsight")
LIBRARIES = ("numpy", *LATE, "transformers", "semanticbm.bert", "scipy", "scipy.stats", "sklearn", "pandas")
MAX_SOURCE = 1_000_000  # bytes of a file that are searched for the names of libraries
UNREAD = "from __future__ import annotations"  # annotations are not evaluated


class Later(ModuleType):
    """A library that is loaded when one of its names is asked for. The import system asks for these two on its own."""

    def __getattribute__(self, name: str):
        if name not in ("__spec__", "__class__"):
            load(self)
        return object.__getattribute__(self, name)


def load(module: ModuleType) -> None:
    """Load a library that is a `Later`."""
    if type(module) is Later:
        module.__class__ = ModuleType
        SourceFileLoader.exec_module(module.__spec__.loader, module)


class _LateLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = Later


class LateFinder(MetaPathFinder):
    """Finds the slow libraries, and has them loaded later."""

    def find_spec(self, name: str, path, target=None):
        """The spec of one of the slow libraries; None for all others."""
        spec = PathFinder.find_spec(name, path) if name in LATE else None
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _LateLoader(spec.loader.name, spec.loader.path)
        return spec


def import_libraries(path: Path) -> None:
    """Import the libraries that a file names, ahead of its own imports."""
    with suppress(OSError):
        text = path.read_bytes()[:MAX_SOURCE].decode("utf-8", "replace")
        for name in LIBRARIES:
            if f"import {name}" in text or f"from {name}" in text:
                with suppress(ImportError):
                    module = import_module(name)
                    if not can_wait(text, name):
                        load(module)


def can_wait(text: str, name: str) -> bool:
    """Whether a file takes a library whole (`import torch`), and outside of functions names it in annotations alone."""
    in_parts, inside = rf"from {name}\b|import {name}\.", rf"^[ \t]+import {name}\b"
    whole = UNREAD in text and not re.search(f"{in_parts}|{inside}", text, re.MULTILINE)
    return whole and name not in _used_when_opened(text)


def _used_when_opened(text: str) -> set[str]:
    """The names that a file uses outside of functions, or in their decorators and defaults; none if it is not Python."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        names, waiting = set(), [ast.parse(text)]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.FunctionDef):
                waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
            elif isinstance(node, ast.Name):
                names.add(node.id)
            else:
                waiting += ast.iter_child_nodes(node)
        return names
    return set()


def load_used(module: ModuleType, function: str) -> None:
    """Load the libraries that a function of a file uses, or that functions use which it names."""
    waiting, seen = [vars(module).get(function)], set()
    while waiting and any(type(sys.modules.get(name)) is Later for name in LATE):
        one = waiting.pop()
        load(one)
        if type(one) is FunctionType and id(one) not in seen and _is_near(one, module):
            seen.add(id(one))
            waiting += [vars(one).get("__wrapped__"), *(one.__globals__.get(name) for name in _names(one.__code__))]


def _is_near(function: FunctionType, module: ModuleType) -> bool:
    """Whether a function is of the student's file or of the book's library."""
    home = function.__globals__
    return home is vars(module) or str(home.get("__name__")).startswith("semanticbm.")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:
        if type(part) is CodeType:
            yield from _names(part)
