"""What was handed in instead of the exercise files: named for the teacher, never unpacked or run.

A file that nearly has the right name, a zip, a notebook or a folder too deep costs a student nothing but a message, if the
message says what was found and what is wanted. Links are not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from semanticbm.grading.plain import inert
from semanticbm.grading.registry import CHAPTERS

WANTED = "wanted: a folder with ex1_bm25.py and the other files, by these names"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
MAX_LOOKED_AT, MAX_DEPTH, MAX_NAMED = 200, 3, 3
FILES = {f"{chapter.file}.py" for chapter in CHAPTERS.values()}
_CHAPTER = re.compile(r"^ex\W*(\d+)", re.IGNORECASE)


def nearly(name: str) -> str | None:
    """The exercise file that a name such as "Ex1_BM25.py" or "ex2 (1).py" stands for; None if it is that name, or none."""
    match = _CHAPTER.match(name)
    chapter = CHAPTERS.get(int(match[1])) if match and name.lower().endswith((".py", ".txt")) else None
    return f"{chapter.file}.py" if chapter and name != f"{chapter.file}.py" else None


def _entries(folder: Path, depth: int = 0) -> Iterator[tuple[Path, int]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name)[:MAX_LOOKED_AT]:
            if entry.name.startswith((".", "_")) or entry.is_symlink():
                continue
            yield Path(entry.path), depth
            if depth < MAX_DEPTH and entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), depth + 1)


def _told(path: Path, depth: int, there: set[str]) -> str | None:
    """What to do with a file. `there`: the exercise files that lie where they should."""
    name, suffix = path.name, path.suffix.lower()
    if suffix in ARCHIVES:
        return "an archive: unpack it"
    if suffix == ".ipynb":
        return "a notebook: copy its functions into the exercise files"
    wanted = nearly(name)
    if wanted and wanted not in there:
        return f"rename it to {wanted}"
    return "too deep: move the files up" if depth and not there and name in FILES else None


def found_instead(folder: Path) -> str:
    """What lies in a folder that a student may have meant: at most three things, with what to do; "" if nothing does."""
    entries = [pair for pair, _ in zip(_entries(folder), range(MAX_LOOKED_AT), strict=False)]
    there = {path.name for path, depth in entries if depth == 0} & FILES
    told = [(path, _told(path, depth, there)) for path, depth in entries]
    named = [f"{inert(str(path.relative_to(folder)), False)} ({what})" for path, what in told if what]
    more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    return ", ".join(named[:MAX_NAMED]) + more


def note_on(folder: Path, complete: bool) -> str:
    """The note for a student's folder. `complete`: it has exercise files by their right names."""
    found = found_instead(folder)
    if complete:
        return f"also found {found}" if found else ""
    return f"found {found}; {WANTED}" if found else f"no exercise files in this folder; {WANTED}"


def loose_files(path: Path) -> list[tuple[str, str]]:
    """(name, note) of files that lie between the students' folders and are somebody's work, or may be."""
    files = [one for one, depth in _entries(path) if depth == 0 and one.is_file()]
    told = [(one.name, _told(one, 0, set())) for one in files]
    return [(inert(name, False), f"a loose file: {what}; {WANTED}") for name, what in told if what]
