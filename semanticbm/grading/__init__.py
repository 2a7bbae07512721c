"""Graded exercises: feedback while you work, points when you are done.

`semanticbm check`, `pytest exercises` and `semanticbm.grading.notebook.check` ask the same checks. `semanticbm grade`
runs each student's files in a process of their own (see `semanticbm.grading.runner`).
"""

from semanticbm.grading.registry import CHAPTERS, all_exercises, chapter_number, find, of_chapter
from semanticbm.grading.table import exercise_table

__all__ = ["CHAPTERS", "all_exercises", "chapter_number", "exercise_table", "find", "of_chapter"]
