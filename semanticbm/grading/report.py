"""Running the checks of an exercise, and saying in words what came out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semanticbm.grading.answer import Answer, Failed, Raised, ToDo, show
from semanticbm.grading.case import VISIBLE, Case
from semanticbm.grading.folders import copied
from semanticbm.grading.process import JUDGING, Asked, Student
from semanticbm.grading.registry import Check, Exercise
from semanticbm.grading.sandbox import find_sandbox

SOLVED, TO_DO, NOT_YET, ERROR = "solved", "to do", "not yet", "error"


@dataclass(frozen=True)
class Result:
    """What came out of an exercise. `check` and `problem` tell the first failure; both None if there was none.

    `held_out` is True where the failure was on an input that readers do not see. `told`: the feedback in words, in a result
    that was stored.
    """

    exercise: Exercise
    status: str
    points: float = 0
    check: Check | None = None
    problem: Exception | None = None
    held_out: bool = False
    told: str = ""

    @property
    def hints(self) -> list[str]:
        """What can be said about the failure, from vague to exact; a recognised mistake comes first."""
        if self.status == TO_DO and self.exercise.checks:
            return list(self.exercise.checks[0].hints)
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
    variants = tuple(variants)
    for n_passed, check in enumerate(exercise.checks):
        points = exercise.points_for(n_passed)
        for variant in variants:
            problem = _problem(check, Answer(exercise.function, source), Case(variant))
            if isinstance(problem, ToDo):
                return Result(exercise, TO_DO, points, None, problem)
            if problem:
                status = NOT_YET if isinstance(problem, Failed) else ERROR
                return Result(exercise, status, points, check, problem, variant not in VISIBLE)
    return Result(exercise, SOLVED, exercise.max_points)


def _problem(check: Check, answer: Answer, case: Case) -> Exception | None:
    """What a check finds wrong. A value so odd that the check cannot work with it is a wrong value."""
    try:
        with one_thread(), np.errstate(all="ignore"):
            check.run(answer, case)
    except (ToDo, Failed, Raised) as problem:
        return problem
    except Exception as error:
        if not answer.answered:
            raise  # the check itself is broken
        expected = "a value of the kind that the docstring names"
        mistake = f"The check cannot work with this value ({type(error).__name__}): look at its kind and shape."
        return Failed(answer.called, _shown(answer.returned), expected, mistake)
    return None


def _shown(value) -> str:
    try:
        return show(value)
    except Exception:  # a dictionary of numbers where tensors are meant, a dtype that NumPy does not know
        return f"<{type(value).__name__}>"


def judge(exercise: Exercise, student: Student, variants: Iterable[int] = VISIBLE) -> Result:
    """Ask the checks about a student's function."""
    with JUDGING:
        return run_checks(exercise, Asked(student, exercise.file, exercise.function), variants)


def run_file(path: Path, exercises: Iterable[Exercise], variants: Iterable[int] = VISIBLE) -> list[Result]:
    """Results for the exercises of one file of a reader."""
    with copied(path.parent) as folder, Student(folder, find_sandbox()) as student:
        return [judge(exercise, student, variants) for exercise in exercises]


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


MORE = "semanticbm check {id} --hint {hint}"


def describe(result: Result, n_hints: int = 1, more: str = MORE) -> str:
    """The feedback on one exercise: the first failure, and as many hints as asked for. `more`: how to ask for the next."""
    exercise, problem = result.exercise, result.problem
    if result.told:
        return result.told
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
    return "\n".join([*lines, *hint_lines(result, n_hints, more)])


def frozen(result: Result) -> dict:
    """A result as JSON."""
    return {"status": result.status, "points": result.points, "held_out": result.held_out, "told": describe(result)}


def thawed(exercise: Exercise, entry: dict) -> Result:
    """The result of an exercise from its JSON."""
    return Result(exercise, entry["status"], entry["points"], held_out=entry["held_out"], told=entry["told"])


def hint_lines(result: Result, n_hints: int, more: str = MORE) -> list[str]:
    """The first hints, and how many are left."""
    hints = result.hints
    plain_error = isinstance(result.problem, Raised) and not result.problem.mistake
    if n_hints <= 1 and (result.status == TO_DO or plain_error):
        return []  # nothing was tried yet, or the error itself says most
    shown = hints[: max(n_hints, 1)]
    lines = [f"  hint {place} of {len(hints)}: {hint}" for place, hint in enumerate(shown, start=1)]
    if len(hints) > len(shown):
        exercise = result.exercise
        lines.append("  More: " + more.format(id=exercise.id, function=exercise.function, hint=len(shown) + 1))
    return lines
