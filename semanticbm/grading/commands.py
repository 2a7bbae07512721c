"""What `semanticbm check` and `semanticbm grade` do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from semanticbm.errors import UserError
from semanticbm.grading.case import HELD_OUT, VISIBLE
from semanticbm.grading.folders import copied, left_out, students_in
from semanticbm.grading.outputs import Files, print_table
from semanticbm.grading.plain import inert
from semanticbm.grading.process import Student
from semanticbm.grading.progress import count_attempt, progress_lines
from semanticbm.grading.registry import all_exercises, find, meant, of_chapter
from semanticbm.grading.report import SOLVED, TO_DO, Result, describe, headline, judge
from semanticbm.grading.runner import Grade, Run, Stopped, default_jobs, import_everything, sandbox_for
from semanticbm.grading.sandbox import find_sandbox
from semanticbm.grading.store import Store
from semanticbm.grading.student import exercise_folder

STYLES = {SOLVED: "green", TO_DO: "dim"}


def results_of(exercise: str | None, folder: Path, console: Console, variants: Iterable[int] = VISIBLE) -> list[Result]:
    """Results of the exercises that are meant, in order; None means all. A file that is not there counts as to do.

    One process answers for all. It starts while the checks are imported.
    """

    def echo(text: str) -> None:
        console.print(f"[printed] {inert(text.rstrip())}", style="dim", markup=False)

    with copied(folder) as copy, Student(copy, find_sandbox(), echo=echo) as student:
        student.start()
        exercises = all_exercises() if exercise is None else find(exercise)
        there = {one.file: (copy / f"{one.file}.py").is_file() for one in exercises}
        return [judge(one, student, variants) if there[one.file] else Result(one, TO_DO) for one in exercises]


def first_open(results: Iterable[Result]) -> Result | None:
    """The first exercise that is not solved; one that was begun comes before one that was not."""
    results = [result for result in results if result.status != SOLVED]
    return next((result for result in results if result.status != TO_DO), results[0] if results else None)


def place_of(exercise: str | None, folder: Path) -> Path:
    """The folder to look in: that of the exercise if it is given as the path of a file, else `folder`."""
    if exercise and Path(exercise).is_file() and Path(exercise).suffix == ".py":
        return Path(exercise).resolve().parent
    return folder


def check_command(exercise: str | None, hint: int, folder: Path, held_out: bool = False) -> int:
    """Print feedback on an exercise, a chapter, or the next unsolved exercise and the progress. Returns 0."""
    if hint < 1:
        raise UserError("--hint counts from 1.")
    if exercise is not None:
        meant(exercise)  # a mistyped name is refused before anything starts
    folder, console = exercise_folder(place_of(exercise, folder)), Console(highlight=False, soft_wrap=True)
    if exercise is None:
        console.print("Checking all exercises; this takes some seconds.", style="dim")
    variants = (*VISIBLE, *HELD_OUT) if held_out else VISIBLE
    results = results_of(exercise, folder, console, variants)
    for result in results if exercise is not None and len(results) > 1 else ():
        console.print(headline(result), style=STYLES.get(result.status), markup=False)
    _print_first(console, results, folder, hint, single=len(results) == 1)
    if not held_out and any(result.status == SOLVED for result in results):
        name = "" if exercise is None else f" {exercise}"
        console.print(f"  held-out inputs were not run: semanticbm check{name} --held-out", style="dim", markup=False)
    if len(results) > 1:
        console.print("\n".join(["", *progress_lines(results)]), markup=False)
    return 0


def _print_first(console: Console, results: list[Result], folder: Path, hint: int, single: bool) -> None:
    result = results[0] if single else first_open(results)
    if result is None:
        console.print("All of these are solved.", style="green")
        return
    count = count_attempt(folder, result)
    console.print("\n" * (not single) + describe(result, hint), style=STYLES.get(result.status), markup=False)
    if count > 1:
        console.print(f"  attempt {count}", style="dim")
    if single and result.status == SOLVED:
        _print_next(console, result)


def _print_next(console: Console, result: Result) -> None:
    own = of_chapter(result.exercise.chapter.number)
    place = own.index(result.exercise) + 1
    if place < len(own):
        console.print(f"  next: semanticbm check {own[place].id}", style="dim")


def grade_command(path: Path, held_out: bool, files: Files, jobs: int | None = None, trusted: bool = False) -> int:
    """Grade a student or a folder of students, print a table, write the files asked for. Returns 0, or 2 if stopped."""
    files.check()
    if jobs is not None and jobs < 1:
        raise UserError("--jobs counts from 1.")
    students = students_in(path, whatever=bool(files.gradescope))
    if files.gradescope and len(students) > 1:
        raise UserError("Gradescope's results.json is for one student: pass one student's folder.")
    console = Console(highlight=False)
    sandbox = sandbox_for(len(students), held_out, trusted, path)
    console.print(sandbox.first_line, style="dim", markup=False)
    for name in left_out(path):
        console.print(f"left out: {name}", style="dim", markup=False)
    import_everything(path, students)
    return _grade_all(students, held_out, sandbox, Store(path, held_out, sandbox.locked), files, jobs, console)


def _grade_all(students, held_out, sandbox, store, files, jobs, console) -> int:
    finished: list[Grade] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("grading", total=len(students))

        def done(grade: Grade) -> None:
            finished.append(grade)
            files.write(finished, len(students))
            progress.advance(task)

        try:
            grades = Run(held_out, sandbox, None, store, done).over(students, jobs or default_jobs(len(students)))
        except Stopped as stopped:
            files.write(stopped.grades, len(students))
            progress.stop()
            print_table(stopped.grades, console)
            kept = f"{len(stopped.grades)} of {len(students)} students were finished and are kept"
            raise UserError(f"stopped: {kept}. Run the same command again to go on.") from None
    store.forget()
    files.write(grades, len(students))
    print_table(grades, console)
    return 0
