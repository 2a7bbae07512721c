"""Feedback inside a notebook: `from semanticbm.grading.notebook import check`, then `check(idf)` below your function.

A function must stand in a cell that was run, so that nnsight finds its source. `check("ex1_bm25")` reads the files in
`exercises/` instead, as the command does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from semanticbm.errors import UserError
from semanticbm.grading.registry import find
from semanticbm.grading.report import describe, run_checks
from semanticbm.grading.student import Live


def check(answer: Callable | str, hint: int = 1, exercise: str | None = None) -> None:
    """Print feedback on a function, found by its name, or on the files of an exercise or chapter.

    `exercise` names the exercise if the function is called differently. `hint`: how many hints to show.
    """
    if isinstance(answer, (str, int)):
        from semanticbm.grading.commands import check_command

        check_command(str(answer), hint, Path("exercises"))
        return
    if not callable(answer):
        raise UserError("pass a function, such as check(idf), or the name of an exercise.")
    found = find(exercise or answer.__name__)
    if len(found) != 1:
        raise UserError(f"{exercise or answer.__name__!r} names {len(found)} exercises: pass exercise='ex1_bm25.idf'.")
    result = run_checks(found[0], Live(answer, _file_of(answer)))
    named = "" if answer.__name__ == found[0].function else f', exercise="{found[0].id}"'
    print(describe(result, hint, f"check({answer.__name__}, hint={{hint}}{named})"))


def _file_of(function: Callable) -> str:
    try:
        return inspect.getsourcefile(function) or "notebook"
    except TypeError:
        return "notebook"
