"""Progress over the book, and a count of attempts in a small local file.

`.semanticbm/attempts.json` in the folder of the exercises says how often each exercise was checked unsolved. Nothing
leaves the machine, and nothing is lost with the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from semanticbm.grading.registry import CHAPTERS
from semanticbm.grading.report import SOLVED, TO_DO, Result, number
from semanticbm.loading.files import write_text


def attempts_file(folder: Path) -> Path:
    """Where the attempts of a folder are counted."""
    return Path(folder) / ".semanticbm" / "attempts.json"


def read_attempts(folder: Path) -> dict[str, int]:
    """{exercise: attempts}; empty if there is no readable file."""
    try:
        found = json.loads(attempts_file(folder).read_text(encoding="utf-8"))
        return {str(name): int(count) for name, count in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def count_attempt(folder: Path, result: Result) -> int:
    """Count a check of an exercise that is begun and not solved; give the number. A read-only folder is no error."""
    attempts = read_attempts(folder)
    if result.status in (SOLVED, TO_DO):
        return attempts.get(result.exercise.id, 0)
    attempts[result.exercise.id] = attempts.get(result.exercise.id, 0) + 1
    path = attempts_file(folder)
    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(attempts, indent=1))
    except OSError:
        pass
    return attempts[result.exercise.id]


def bar(share: float, width: int = 20) -> str:
    """A bar of text for a share from 0 to 1."""
    full = int(share * width + 1e-9)
    return "#" * full + "." * (width - full)


def progress_lines(results: Iterable[Result]) -> list[str]:
    """One line a chapter: solved exercises and points; then the sum. Held-out inputs are named, since they did not run."""
    results, lines = list(results), []
    for chapter in CHAPTERS.values():
        own = [result for result in results if result.exercise.file == chapter.file]
        if own:
            lines.append(_line(chapter.file, own))
    lines.append(_line("all", results))
    return [*lines, "Points on the inputs that were run; `--held-out` runs those that a teacher grades with, too."]


def _line(name: str, results: list[Result]) -> str:
    points, full = (sum(values) for values in zip(*((r.points, r.exercise.max_points) for r in results), strict=True))
    solved = sum(result.status == SOLVED for result in results)
    return (
        f"{name:20s} {bar(points / full)} {solved:2d} of {len(results):2d} solved, "
        f"{number(points):>4s} of {number(full)} points"
    )
