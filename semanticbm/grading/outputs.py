"""Points on paper: a table, JSON, CSV, and Gradescope's results.json."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from semanticbm.errors import UserError
from semanticbm.grading.plain import cell
from semanticbm.grading.report import SOLVED, TO_DO, Result, describe, number
from semanticbm.grading.runner import Grade
from semanticbm.loading.files import write_text


def status_of(grade: Grade) -> str:
    """How a student stands, in a few words: what hinders first, then how much is solved."""
    files = {}
    for result in grade.results:
        files.setdefault(result.exercise.file, []).append(result)
    texts = [[str(one.problem or one.told) for one in own] for own in files.values()]
    parts = [
        (sum(any("does not import" in text for text in own) for own in texts), "does not import"),
        (sum(any("too long" in text or "took more than" in text for text in own) for own in texts), "timed out"),
    ]
    told = [f"{words} ({n} of {len(files)} files)" for n, words in parts if n]
    solved = sum(result.status == SOLVED for result in grade.results)
    untouched = not told and all(result.status == TO_DO for result in grade.results)
    return "untouched" if untouched else ", ".join([*told, f"{solved} of {len(grade.results)} solved"])


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
        "status": status_of(grade),
        "note": grade.note,
        "exercises": [exercise_entry(result) for result in grade.results],
    }


def to_json(grades: list[Grade], n_students: int) -> dict:
    """One student's entry; for several the sums and a list of entries. `complete` is False while students are missing."""
    entries = [student_entry(grade) for grade in grades]
    if n_students == 1 and entries:
        return entries[0]
    sums = {name: sum(entry[name] for entry in entries) for name in ("points", "max_points")}
    held_out = any(grade.held_out for grade in grades)
    return sums | {"held_out": held_out, "complete": len(entries) == n_students, "students": entries}


def to_csv(grades: list[Grade]) -> str:
    """One row a student: name, points, maximum, status, note, then the points of each exercise."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["student", "points", "max_points", "status", "note", *(result.exercise.id for result in grades[0].results)]
    )
    for grade in grades:
        writer.writerow(
            [
                cell(grade.student),
                number(grade.points),
                number(grade.max_points),
                status_of(grade),
                cell(grade.note),
                *(number(one.points) for one in grade.results),
            ]
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
            "output_format": "text",
            "name_format": "text",
            "visibility": "visible",
        }
        for result in grade.results
    ]
    return {
        "score": grade.points,
        "output": " ".join(filter(None, (_held_out_line(grade), grade.note))),
        "output_format": "text",
        "visibility": "visible",
        "tests": tests,
    }


def _held_out_line(grade: Grade) -> str:
    return (
        "Held-out inputs were used, too."
        if grade.held_out
        else "Graded on the visible inputs; held-out ones were not run."
    )


def print_table(grades: list[Grade], console: Console) -> None:
    """The exercises of one student, or one line for each of several students."""
    table = Table(*(("exercise", "points", "status") if len(grades) == 1 else ("student", "points", "status", "note")))
    if len(grades) == 1:
        for result in grades[0].results:
            points = f"{number(result.points)} / {number(result.exercise.max_points)}"
            table.add_row(f"{result.exercise.number} {result.exercise.id}", points, result.status)
        table.add_row("all", f"{number(grades[0].points)} / {number(grades[0].max_points)}", "", style="bold")
    for grade in grades if len(grades) > 1 else ():
        table.add_row(
            escape(grade.student),
            f"{number(grade.points)} / {number(grade.max_points)}",
            status_of(grade),
            escape(grade.note),
        )
    console.print(table)
    if grades:
        console.print(_held_out_line(grades[0]), style="dim")


@dataclass(frozen=True)
class Files:
    """Where points are written, if anywhere."""

    json: Path | None = None
    csv: Path | None = None
    gradescope: Path | None = None

    def check(self) -> None:
        """Raise `UserError` before the work if a file cannot be written."""
        for path in filter(None, (self.json, self.csv, self.gradescope)):
            folder = Path(path).resolve().parent
            if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
                raise UserError(f"{path} cannot be written: choose a file in a folder that exists.")

    def write(self, grades: list[Grade], n_students: int) -> None:
        """Write the files that were asked for, each whole or not at all. `n_students`: all of the run."""
        if not grades:
            return
        if self.json:
            write_text(self.json, json.dumps(to_json(grades, n_students), indent=2, ensure_ascii=False))
        if self.csv:
            write_text(self.csv, to_csv(grades))
        if self.gradescope:
            write_text(self.gradescope, json.dumps(to_gradescope(grades[0]), indent=2, ensure_ascii=False))
