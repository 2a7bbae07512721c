"""Grade a course with short limits and write the results: `python grade_course.py COURSE OUT.json`.

A script, so that the hostile files can also be graded by another user.
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from semanticbm.grading.folders import Submission, students_in
from semanticbm.grading.outputs import student_entry
from semanticbm.grading.process import Limits
from semanticbm.grading.runner import Run, import_everything
from semanticbm.grading.sandbox import find_sandbox
from semanticbm.grading.store import Store

LIMITS = Limits(seconds=6, grace=2, total=300, memory=2_000_000_000, output=10_000)  # an import may take seconds
SHORT = replace(LIMITS, seconds=2, grace=1)  # for files that work until they are stopped


def works_until_stopped(student: Submission) -> bool:
    """Whether the hostile part of a student's file says that it uses up all its time."""
    text = (student.folder / "ex1_bm25.py").read_text(encoding="utf-8")
    return re.search(r"^# costs: \w+ time$", text, re.M) is not None


def main(course: Path, out: Path) -> None:
    """Grade every student of a course; refuses to run without a sandbox."""
    sandbox = find_sandbox((course,))
    if not sandbox.locked:
        raise SystemExit(sandbox.first_line)
    students = students_in(course)
    import_everything(course, students)
    store = Store(course, False, True)
    grades = []
    for limits in (LIMITS, SHORT):
        some = [one for one in students if works_until_stopped(one) == (limits is SHORT)]
        grades += Run(False, sandbox, limits, store, lambda grade: None).over(some, jobs=2)
    store.forget()
    out.write_text(json.dumps([student_entry(grade) for grade in grades]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
