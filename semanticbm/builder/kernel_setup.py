"""Runs first in the kernel of each chapter: sharp figures, plain values in sentences, and a list of the files that
were used.

This file is not imported: its text becomes the notebook's first cell.
"""

import json as _json
import os as _os
import sys as _sys

get_ipython().run_line_magic("config", "InlineBackend.figure_formats = ['retina']")  # noqa: F821

_book_root = _os.environ["SEMANTICBM_BOOK_ROOT"] + _os.sep
_book_skips = tuple(_book_root + name + _os.sep for name in (".venv", ".cache", ".git", "_book"))
_book_files = set()


def _book_note_file(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path = _os.path.abspath(arguments[0])
        if path.startswith(_book_root) and not path.startswith(_book_skips) and "__pycache__" not in path:
            _book_files.add(path)


def _book_print_value(value):
    """An inline value as Quarto writes it: text as it is, anything else by its own markdown or by str."""
    print(value if isinstance(value, str) else getattr(value, "_repr_markdown_", value.__str__)(), end="")


def _book_print_dependencies():
    """The files of the project that this kernel opened, imported, or wanted to open and did not find, as JSON."""
    modules = [getattr(module, "__file__", None) for module in list(_sys.modules.values())]
    sources = [
        path
        for path in modules
        if path and _os.path.abspath(path).startswith(_book_root) and not _os.path.abspath(path).startswith(_book_skips)
    ]
    print(_json.dumps(sorted({*_book_files, *filter(_os.path.isfile, sources)})))


_sys.addaudithook(_book_note_file)
