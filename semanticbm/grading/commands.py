"""What `semanticbm check` and `semanticbm grade` do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from semanticbm.errors import UserError
from semanticbm.grading.progress import count_attempt, progress_lines
from semanticbm.grading.registry import Exercise, all_exercises, find, of_chapter
from semanticbm.grading.report import SOLVED, TO_DO, Result, describe, headline, run_file
from semanticbm.grading.student import exercise_folder

STYLES = {SOLVED: "green", TO_DO: "dim"}


def results_of(exercises: Iterable[Exercise], folder: Path) -> list[Result]:
    """Results of exercises, in order; each file is imported once. A file that is not there counts as to do."""
    exercises, results = list(exercises), []
    for name in dict.fromkeys(exercise.file for exercise in exercises):
        own = [exercise for exercise in exercises if exercise.file == name]
        path = folder / f"{name}.py"
        results += run_file(path, own) if path.is_file() else [Result(exercise, TO_DO) for exercise in own]
    return results


def first_open(results: Iterable[Result]) -> Result | None:
    """The first exercise that is not solved; one that was begun comes before one that was not."""
    results = [result for result in results if result.status != SOLVED]
    return next((result for result in results if result.status != TO_DO), results[0] if results else None)


def check_command(exercise: str | None, hint: int, folder: Path) -> int:
    """Print feedback on an exercise, a chapter, or the next unsolved exercise and the progress. Returns 0."""
    if hint < 1:
        raise UserError("--hint counts from 1.")
    folder, console = exercise_folder(folder), Console(highlight=False, soft_wrap=True)
    if exercise is None:
        console.print("Checking all exercises; this takes some seconds.", style="dim")
    results = results_of(all_exercises() if exercise is None else find(exercise), folder)
    for result in results if exercise is not None and len(results) > 1 else ():
        console.print(headline(result), style=STYLES.get(result.status), markup=False)
    _print_first(console, results, folder, hint, single=len(results) == 1)
    if len(results) > 1:
        console.print("\n".join(["", *progress_lines(results)]), markup=False)
    return 0


def _print_first(console: Console, results: list[Result], folder: Path, hint: int, single: bool) -> None:
    result = results[0] if single else first_open(results)
    if result is None:
        console.print("All of these are solved on the inputs that you see.", style="green")
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


def grade_command(
    path: Path,
    held_out: bool,
    json_file: Path | None = None,
    csv_file: Path | None = None,
    gradescope_file: Path | None = None,
) -> int:
    """Grade a student or a folder of students, print a table, write the files asked for. Returns 0."""
    from semanticbm.grading import outputs
    from semanticbm.grading.runner import grade_students, students_in

    outputs.check_places(json_file, csv_file, gradescope_file)
    students = students_in(path)
    if gradescope_file and len(students) > 1:
        raise UserError("Gradescope's results.json is for one student: pass one student's folder.")
    console = Console(highlight=False)
    grades = grade_students(students, held_out, console)
    outputs.print_table(grades, console)
    outputs.write(grades, json_file, csv_file, gradescope_file)
    return 0
