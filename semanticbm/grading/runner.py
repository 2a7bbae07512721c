"""Grading a folder of students that nobody has read.

The judge (this process) has the checks, the expected values and the hints. It never imports a student's file: each
student's functions run in a process of their own, in a sandbox (`semanticbm.grading.sandbox`), and are asked call by
call (`semanticbm.grading.child.protocol`). So the only way to a point is the right value.

Several students run at the same time, each in a thread that mostly waits; one thread at a time judges. A result is stored as
soon as it is there, so a stopped run goes on where it was (`semanticbm.grading.store`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from semanticbm.errors import UserError
from semanticbm.grading.answer import Raised
from semanticbm.grading.case import HELD_OUT, VISIBLE, Case
from semanticbm.grading.folders import Submission, copied, is_file
from semanticbm.grading.process import Limits, Student
from semanticbm.grading.registry import CHAPTERS, Exercise, all_exercises
from semanticbm.grading.report import ERROR, TO_DO, Result, judge
from semanticbm.grading.sandbox import WAYS_OUT, Sandbox, find_sandbox
from semanticbm.grading.store import Store, fingerprint

WITH_MODELS = (2, 4)  # chapters whose checks run a model
# what they import on first use, so that one `semanticbm check` is quick
USED_BY_MODELS = ("torch", "nnsight", "pydantic.plugin._loader", "importlib.resources.readers", "semanticbm.bert")


@dataclass
class Grade:
    """The results of a student, in the order of the exercises. `fingerprint`: what was graded; empty if grading failed."""

    student: str
    results: list[Result]
    held_out: bool
    note: str = ""
    fingerprint: str = ""

    @property
    def points(self) -> float:
        """The sum over the exercises."""
        return sum(result.points for result in self.results)

    @property
    def max_points(self) -> float:
        """What a perfect answer gets."""
        return sum(result.exercise.max_points for result in self.results)


class Stopped(Exception):
    """The run was stopped (Ctrl-C). `grades`: the students that were finished."""

    def __init__(self, grades: list[Grade]):
        super().__init__("stopped")
        self.grades = grades


def sandbox_for(n_students: int, held_out: bool, trusted: bool, path: Path) -> Sandbox:
    """The sandbox for a run. `UserError` if there is none and the code is not one's own."""
    sandbox = find_sandbox((path,))
    if not sandbox.locked and not trusted and (held_out or n_students > 1):
        raise UserError(
            f"no sandbox: {sandbox.reason} Others' code is not run without one. {WAYS_OUT} "
            "For people whom you know, on your own machine, there is --trusted."
        )
    return sandbox


# --------------------------------------------------------------------------------------------------------------------
# One student


def judged(exercise: Exercise, student: Student, variants: tuple[int, ...]) -> Result:
    """The result of an exercise. If its file is not there, it is to do; if the judge itself fails, the student's loss."""
    if not is_file(student.folder / f"{exercise.file}.py"):
        return Result(exercise, TO_DO)
    try:
        return judge(exercise, student, variants)
    except UserError:
        raise
    except Exception as problem:
        return Result(exercise, ERROR, 0, None, Raised(f"  This answer cannot be judged: {type(problem).__name__}."))


def grade_student(
    handed_in: Submission,
    held_out: bool = False,
    sandbox: Sandbox | None = None,
    limits: Limits | None = None,
    running=None,
) -> Grade:
    """Grade what a student handed in; without a folder every exercise is to do. `running`: a set to be listed in."""
    exercises, variants = all_exercises(), (*VISIBLE, *HELD_OUT) if held_out else VISIBLE
    running = set() if running is None else running
    if handed_in.folder is None:
        return Grade(handed_in.name, [Result(one, TO_DO) for one in exercises], held_out, handed_in.note)
    with copied(handed_in.folder) as folder, Student(folder, sandbox or find_sandbox(), limits) as student:
        running.add(student)
        try:
            results = [judged(one, student, variants) for one in exercises]
        finally:
            running.discard(student)
    return Grade(handed_in.name, results, held_out, handed_in.note)


def failed(handed_in: Submission, held_out: bool, problem: Exception) -> Grade:
    """The grade where judging itself went wrong: 0 points, and a note to the teacher."""
    note = f"could not be graded: {type(problem).__name__}"
    return Grade(handed_in.name, [Result(one, ERROR) for one in all_exercises()], held_out, note)


# --------------------------------------------------------------------------------------------------------------------
# Many students


def chapters_of(students: list[Submission]) -> set[int]:
    """The chapters of which somebody handed in the file."""
    folders = [one.folder for one in students if one.folder is not None]
    return {n for n, chapter in CHAPTERS.items() if any(is_file(folder / f"{chapter.file}.py") for folder in folders)}


def import_everything(path: Path, students: list[Submission]) -> None:
    """Import what judging these students needs before their code runs, and never from the folder that is graded.

    PyTorch and nnsight take seconds; they are left out where nobody handed in a chapter whose checks run a model.
    """
    place = os.path.realpath(path)
    sys.path[:] = [
        one for one in sys.path if one and not Path(os.path.realpath(one)).is_relative_to(place) and one != os.getcwd()
    ]
    all_exercises()
    if chapters_of(students) & set(WITH_MODELS):
        _import_models()


def _import_models() -> None:
    for name in USED_BY_MODELS:
        import_module(name)
    sys.modules["torch"].set_num_threads(1)
    for variant in (*VISIBLE, *HELD_OUT):
        Case(variant).model()


class Run:
    """A run over many students. `done(grade)` is called, in this thread, when a student is finished."""

    def __init__(self, held_out: bool, sandbox: Sandbox, limits: Limits | None, store: Store, done: Callable):
        self.held_out, self.sandbox, self.limits, self.store, self.done = held_out, sandbox, limits, store, done
        self.running: set[Student] = set()
        self.grades: dict[int, Grade] = {}
        self.futures: dict[Future, int] = {}
        self.stopping = False

    def _one(self, handed_in: Submission, key: str) -> Grade | None:
        if self.stopping:
            return None
        try:
            grade = grade_student(handed_in, self.held_out, self.sandbox, self.limits, self.running)
            return replace(grade, fingerprint=key)
        except UserError:
            raise
        except Exception as problem:
            return failed(handed_in, self.held_out, problem)

    def over(self, students: list[Submission], jobs: int) -> list[Grade]:
        """Grade the students, `jobs` at a time, in their order. `Stopped` on Ctrl-C."""
        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            try:
                self.futures = {pool.submit(self._known_or_new, one): place for place, one in enumerate(students)}
                self._collect()
            except KeyboardInterrupt:
                raise Stopped([self.grades[place] for place in sorted(self.grades)]) from None
            finally:
                self._stop()
        return [self.grades[place] for place in sorted(self.grades)]

    def _known_or_new(self, handed_in: Submission) -> Grade | None:
        key = fingerprint(handed_in)
        known = self.store.known(key)
        return Grade(handed_in.name, known, self.held_out, handed_in.note) if known else self._one(handed_in, key)

    def _collect(self) -> None:
        left = set(self.futures)
        while left:
            finished, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)  # short, so that Ctrl-C comes through
            for future in sorted(finished, key=self.futures.get):
                grade = self.grades[self.futures[future]] = future.result()
                self.store.keep(grade)
                self.done(grade)

    def _stop(self) -> None:
        """Let no thread and no student's process go on."""
        self.stopping = True
        left = [future for future in self.futures if not future.cancel() and not future.done()]
        while left:
            for student in list(self.running):
                student.close()
            _, left = wait(left, timeout=0.2)


def default_jobs(n_students: int) -> int:
    """As many students at a time as there are cores, one gigabyte of memory each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, n_students, 16))
