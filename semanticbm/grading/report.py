"""Running the checks of an exercise, and saying in words what came out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from semanticbm.grading.answer import Answer, Failed, Raised, ToDo
from semanticbm.grading.case import VISIBLE, Case
from semanticbm.grading.registry import Check, Exercise
from semanticbm.grading.student import Live, function_of, load_file

SOLVED, TO_DO, NOT_YET, ERROR = "solved", "to do", "not yet", "error"


@dataclass(frozen=True)
class Result:
    """What came out of an exercise. `check` and `problem` tell the first failure; both None if there was none.

    `held_out` is True where the failure was on an input that readers do not see.
    """

    exercise: Exercise
    status: str
    points: float = 0
    check: Check | None = None
    problem: Exception | None = None
    held_out: bool = False

    @property
    def hints(self) -> list[str]:
        """What can be said about the failure, from vague to exact; a recognised mistake comes first."""
        if self.check is None:
            return []
        mistake = getattr(self.problem, "mistake", None)
        return [*([mistake] if mistake else []), *self.check.hints]


@contextmanager
def one_thread():
    """PyTorch on one thread for a while: the random models are so small that more threads only wait for each other."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)


def run_checks(exercise: Exercise, source: Callable, variants: Iterable[int] = VISIBLE) -> Result:
    """Ask the checks of an exercise in order, up to the first failure. `source(args, kwargs)` calls the answer.

    A check's points need all variants.
    """
    points, variants = 0, tuple(variants)
    for check in exercise.checks:
        for variant in variants:
            try:
                with one_thread():
                    check.run(Answer(exercise.function, source), Case(variant))
            except ToDo as problem:
                return Result(exercise, TO_DO, points, None, problem)
            except Failed as problem:
                return Result(exercise, NOT_YET, points, check, problem, variant not in VISIBLE)
            except Raised as problem:
                return Result(exercise, ERROR, points, check, problem, variant not in VISIBLE)
        points += check.points
    return Result(exercise, SOLVED, points)


def run_file(path: Path, exercises: Iterable[Exercise], variants: Iterable[int] = VISIBLE) -> list[Result]:
    """Results for the exercises of one file of a reader."""
    try:
        module = load_file(path)
    except Raised as problem:
        return [Result(exercise, ERROR, 0, None, problem) for exercise in exercises]
    return [run_function(module, exercise, path, variants) for exercise in exercises]


def run_function(module, exercise: Exercise, path: Path, variants: Iterable[int] = VISIBLE) -> Result:
    """Result for one exercise of an imported file."""
    try:
        return run_checks(exercise, Live(function_of(module, exercise), path), variants)
    except Raised as problem:
        return Result(exercise, ERROR, 0, None, problem)


# --------------------------------------------------------------------------------------------------------------------
# In words


def number(points: float) -> str:
    """Points without a needless decimal: 3, 2.5."""
    return f"{points:g}"


def headline(result: Result) -> str:
    """One line: which exercise, how it stands, points."""
    exercise = result.exercise
    return (
        f"{exercise.number} {exercise.id}: {result.status}, "
        f"{number(result.points)} of {number(exercise.max_points)} points"
    )


def describe(result: Result, n_hints: int = 1) -> str:
    """The feedback on one exercise: the first failure, and as many hints as asked for."""
    exercise, problem = result.exercise, result.problem
    lines = [headline(result)]
    if result.status == TO_DO:
        lines += [f"  {exercise.goal}", f"  Write it in exercises/{exercise.file}.py; read {exercise.chapter.page}."]
    elif isinstance(problem, Failed):
        lines += [
            f"  check     {result.check.name}" + (" (on a held-out input)" if result.held_out else ""),
            f"  called    {problem.called}",
            f"  returned  {problem.returned}",
            f"  expected  {problem.expected}",
        ]
    elif problem is not None:
        lines.append(str(problem))
    return "\n".join([*lines, *hint_lines(result, n_hints)])


def hint_lines(result: Result, n_hints: int) -> list[str]:
    """The first hints, and how many are left."""
    hints = result.hints
    if isinstance(result.problem, Raised) and n_hints <= 1:
        return []  # the error itself says most
    shown = hints[: max(n_hints, 1)]
    lines = [f"  hint {place} of {len(hints)}: {hint}" for place, hint in enumerate(shown, start=1)]
    if len(hints) > len(shown):
        lines.append(f"  More: semanticbm check {result.exercise.id} --hint {len(shown) + 1}")
    return lines
