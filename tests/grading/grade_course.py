"""Grade a course with short limits and write the results: `python grade_course.py COURSE OUT.json`.

A script, so that the hostile files can also be graded by another user.
"""

import json
import sys
from pathlib import Path

from semanticbm.grading.folders import students_in
from semanticbm.grading.outputs import student_entry
from semanticbm.grading.process import Limits
from semanticbm.grading.runner import Run, import_everything
from semanticbm.grading.sandbox import find_sandbox
from semanticbm.grading.store import Store

LIMITS = Limits(seconds=6, grace=2, total=300, memory=2_000_000_000, output=10_000)


def main(course: Path, out: Path) -> None:
    """Grade every student of a course; refuses to run without a sandbox."""
    sandbox = find_sandbox((course,))
    if not sandbox.locked:
        raise SystemExit(sandbox.first_line)
    students = students_in(course)
    import_everything(course, students)
    store = Store(course, False, True)
    grades = Run(False, sandbox, LIMITS, store, lambda grade: None).over(students, jobs=2)
    store.forget()
    out.write_text(json.dumps([student_entry(grade) for grade in grades]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
