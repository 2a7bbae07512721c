"""The table of exercises at the end of a chapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semanticbm.errors import UserError
from semanticbm.grading.registry import chapter_number, of_chapter

if TYPE_CHECKING:
    from semanticbm.plots.display import Shown


def exercise_table(chapter: int | str) -> Shown:
    """The exercises of a chapter as a table, for the last cell of a chapter. `chapter`: 1, or "ex1_bm25"."""
    from semanticbm.plots.display import table  # here, because figures take seconds, and feedback needs none

    number = chapter_number(chapter)
    if number is None:
        raise UserError(f"chapter {chapter!r} has no exercises: use 1 to 9, or a file such as ex1_bm25.")
    return table(
        [
            {
                "exercise": f"{one.number} `{one.function}`",
                "goal": one.goal,
                "difficulty": f"{one.difficulty} of 5",
                "minutes": one.minutes,
                "points": f"{one.max_points:g}",
            }
            for one in of_chapter(number)
        ]
    )
