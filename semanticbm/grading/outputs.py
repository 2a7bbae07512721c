"""Points on paper: a table, JSON, CSV, and Gradescope's results.json."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from semanticbm.errors import UserError
from semanticbm.files import write_text
from semanticbm.grading.report import SOLVED, Result, describe, number
from semanticbm.grading.runner import Grade


def exercise_entry(result: Result) -> dict:
    """One exercise as in the JSON file."""
    return {
        "id": result.exercise.id,
        "number": result.exercise.number,
        "points": result.points,
        "max_points": result.exercise.max_points,
        "status": result.status,
        "message": "" if result.status == SOLVED else describe(result),
    }


def student_entry(grade: Grade) -> dict:
    """One student as in the JSON file."""
    return {
        "student": grade.student,
        "points": grade.points,
        "max_points": grade.max_points,
        "held_out": grade.held_out,
        "note": grade.note,
        "exercises": [exercise_entry(result) for result in grade.results],
    }


def to_json(grades: list[Grade]) -> dict:
    """One student's entry; for several the sums and a list of entries."""
    entries = [student_entry(grade) for grade in grades]
    if len(entries) == 1:
        return entries[0]
    sums = {name: sum(entry[name] for entry in entries) for name in ("points", "max_points")}
    return sums | {"held_out": grades[0].held_out, "students": entries}


def to_csv(grades: list[Grade]) -> str:
    """One row a student: name, points, maximum, then the points of each exercise."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "points", "max_points", *(result.exercise.id for result in grades[0].results)])
    for grade in grades:
        name = grade.student if grade.student[:1] not in "=+-@" else f"'{grade.student}"  # no formula in a spreadsheet
        writer.writerow(
            [name, number(grade.points), number(grade.max_points), *(number(one.points) for one in grade.results)]
        )
    return text.getvalue()


def to_gradescope(grade: Grade) -> dict:
    """Gradescope's results.json: one test for each exercise."""
    tests = [
        {
            "name": result.exercise.id,
            "number": result.exercise.number,
            "score": result.points,
            "max_score": result.exercise.max_points,
            "status": "passed" if result.status == SOLVED else "failed",
            "output": exercise_entry(result)["message"],
            "visibility": "visible",
        }
        for result in grade.results
    ]
    return {"score": grade.points, "output": _held_out_line(grade), "visibility": "visible", "tests": tests}


def _held_out_line(grade: Grade) -> str:
    return (
        "Held-out inputs were used, too."
        if grade.held_out
        else "Graded on the visible inputs; held-out ones were not run."
    )


def print_table(grades: list[Grade], console: Console) -> None:
    """The exercises of one student, or one line for each of several students."""
    table = Table(*(("exercise", "points", "status") if len(grades) == 1 else ("student", "points", "solved", "note")))
    if len(grades) == 1:
        for result in grades[0].results:
            points = f"{number(result.points)} / {number(result.exercise.max_points)}"
            table.add_row(f"{result.exercise.number} {result.exercise.id}", points, result.status)
        table.add_row("all", f"{number(grades[0].points)} / {number(grades[0].max_points)}", "", style="bold")
    for grade in grades if len(grades) > 1 else ():
        solved = sum(result.status == SOLVED for result in grade.results)
        table.add_row(
            grade.student,
            f"{number(grade.points)} / {number(grade.max_points)}",
            f"{solved} of {len(grade.results)}",
            grade.note,
        )
    console.print(table)
    console.print(_held_out_line(grades[0]), style="dim")


def check_places(*paths: Path | None) -> None:
    """Raise `UserError` before the work if a file cannot be written."""
    for path in filter(None, paths):
        folder = Path(path).resolve().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
            raise UserError(f"{path} cannot be written: choose a file in a folder that exists.")


def write(grades: list[Grade], json_file: Path | None, csv_file: Path | None, gradescope_file: Path | None) -> None:
    """Write the files that were asked for, each whole or not at all."""
    if json_file:
        write_text(json_file, json.dumps(to_json(grades), indent=2, ensure_ascii=False))
    if csv_file:
        write_text(csv_file, to_csv(grades))
    if gradescope_file:
        write_text(gradescope_file, json.dumps(to_gradescope(grades[0]), indent=2, ensure_ascii=False))
