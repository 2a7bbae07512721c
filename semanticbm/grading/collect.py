"""`pytest exercises`: the same checks as `semanticbm check`, one pytest item for each exercise.

This is for one's own answers: a `conftest.py` can change what pytest says. It cannot change `semanticbm check` and
`semanticbm grade`, which use no pytest.

An exercise that is not begun is skipped with the reason "to do". The first one that fails shows its feedback; those
after it are named in one line each. `exercises/conftest.py` imports the hooks of this module.
"""

from __future__ import annotations

import pytest

from semanticbm.grading.progress import count_attempt, progress_lines
from semanticbm.grading.registry import chapter_number, of_chapter
from semanticbm.grading.report import SOLVED, TO_DO, Result, describe, headline, run_file

_results = pytest.StashKey[list]()


class NotYet(Exception):
    """Carries a result to the report of a failed item."""


class ExerciseItem(pytest.Item):
    """One exercise."""

    def __init__(self, *, exercise, **arguments):
        super().__init__(**arguments)
        self.exercise = exercise

    def runtest(self) -> None:
        """Ask the checks: skip what is to do, fail what is not right yet."""
        result = self.parent.result_of(self.exercise)
        found = self.config.stash.setdefault(_results, [])
        first = not any(one.status not in (SOLVED, TO_DO) for one in found)
        found.append(result)
        if result.status == TO_DO:
            pytest.skip(f"to do: {self.exercise.goal}")
        if result.status != SOLVED:
            count_attempt(self.path.parent, result)
            raise NotYet(describe(result) if first else headline(result))

    def repr_failure(self, excinfo, style=None):
        """The feedback without a traceback."""
        return str(excinfo.value) if isinstance(excinfo.value, NotYet) else super().repr_failure(excinfo, style)

    def reportinfo(self):
        """Where the item is listed."""
        return self.path, 0, self.exercise.id


class ExerciseModule(pytest.File):
    """One file of exercises; it is imported and checked when its first item runs."""

    _found: dict[str, Result] | None = None

    def collect(self):
        """One item for each exercise of the chapter."""
        for exercise in of_chapter(chapter_number(self.path.stem)):
            yield ExerciseItem.from_parent(self, name=exercise.function, exercise=exercise)

    def result_of(self, exercise) -> Result:
        """The result of one exercise of this file."""
        if self._found is None:
            results = run_file(self.path, of_chapter(chapter_number(self.path.stem)))
            self._found = {result.exercise.id: result for result in results}
        return self._found[exercise.id]


def pytest_collect_file(parent, file_path):
    """Collect files called like a file of exercises."""
    if file_path.suffix == ".py" and file_path.stem.startswith("ex") and chapter_number(file_path.stem):
        return ExerciseModule.from_parent(parent, path=file_path)
    return None


def pytest_terminal_summary(terminalreporter, config):
    """Progress at the end of the run."""
    results = config.stash.get(_results, [])
    if results:
        terminalreporter.section("progress")
        for line in [*progress_lines(results), "pytest is for your own answers; points come from `semanticbm grade`."]:
            terminalreporter.write_line(line)
