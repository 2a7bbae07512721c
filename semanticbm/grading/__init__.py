"""Graded exercises: feedback while you work, points when you are done.

`semanticbm check`, `semanticbm grade`, `pytest exercises` and `semanticbm.grading.notebook.check` ask the same checks. But
in a notebook, a reader's functions run in a process of their own, which sees nothing of the checks (see
`semanticbm.grading.runner`).
"""

from semanticbm.grading.registry import CHAPTERS, all_exercises, chapter_number, find, of_chapter
from semanticbm.grading.table import exercise_table

__all__ = ["CHAPTERS", "all_exercises", "chapter_number", "exercise_table", "find", "of_chapter"]
