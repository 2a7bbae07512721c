"""The table of exercises at the end of a chapter."""

from __future__ import annotations

from semanticbm.errors import UserError
from semanticbm.grading.registry import chapter_number, of_chapter

HEADER = "| exercise | goal | difficulty | minutes | points | file |\n|---|---|---|---|---|---|"


def exercise_rows(chapter: int | str) -> str:
    """The exercises of a chapter as a markdown table. `chapter`: 1, or "ex1_bm25"."""
    number = chapter_number(chapter)
    if number is None:
        raise UserError(f"chapter {chapter!r} has no exercises: use 1 to 8, or a file such as ex1_bm25.")
    rows = [
        f"| {one.number} `{one.function}` | {one.goal} | {one.difficulty} of 5 | {one.minutes} | "
        f"{one.max_points:g} | `exercises/{one.file}.py` |"
        for one in of_chapter(number)
    ]
    return "\n".join([HEADER, *rows])


def exercise_table(chapter: int | str):
    """The same as an IPython Markdown object, for the last cell of a chapter."""
    from IPython.display import Markdown

    return Markdown(exercise_rows(chapter))
