"""Finding students and copying their files. Links are never followed, and nothing but small Python files is copied."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from semanticbm.errors import UserError
from semanticbm.grading.plain import inert
from semanticbm.grading.registry import CHAPTERS
from semanticbm.grading.submitted import found_instead, loose_files, note_on

MAX_SOURCE = 1_000_000  # bytes of one file
MAX_FILES = 100
FILES = tuple(f"{chapter.file}.py" for chapter in CHAPTERS.values())


@dataclass(frozen=True)
class Submission:
    """A student's folder. `folder`: where the exercise files are, or None; `note`: what is wrong with it."""

    name: str
    folder: Path | None
    note: str = ""


def is_folder(path: Path) -> bool:
    """Whether this is a folder itself, not a link to one. What cannot be looked at is none."""
    with suppress(OSError, ValueError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def is_file(path: Path) -> bool:
    """Whether this is a file itself, not a link to one. What cannot be looked at is none."""
    with suppress(OSError, ValueError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def exercises_in(folder: Path) -> Path | None:
    """The folder itself or `exercises` in it, if it holds exercise files; no links."""
    for place in (folder, folder / "exercises"):
        if is_folder(place) and any(is_file(place / name) for name in FILES):
            return place
    return None


def submission(folder: Path) -> Submission:
    """What a student handed in."""
    name = inert(os.fsdecode(folder.name), lines=False)
    if os.path.islink(folder):
        return Submission(name, None, "a link: not followed")
    with suppress(OSError):
        place = exercises_in(folder)
        os.listdir(folder)
        return Submission(name, place, note_on(place or folder, bool(place)))
    return Submission(name, None, "cannot be read")


def left_out(path: Path) -> list[str]:
    """Folders that are not taken for students, since their names begin with a dot or an underscore."""
    path = Path(os.path.realpath(path))
    if exercises_in(path):
        return []
    return sorted(
        inert(one.name, False) for one in path.iterdir() if one.name.startswith((".", "_")) and is_folder(one)
    )


def students_in(path: Path, whatever: bool = False) -> list[Submission]:
    """One student, or one for each folder and loose file inside `path`.

    `UserError` if there are no exercises at all; with `whatever` that is one student who handed in something else.
    """
    if not Path(path).is_dir():
        raise UserError(f"{path} is not a folder: pass a student's folder, or a folder of such folders.")
    path = Path(os.path.realpath(path))  # the link that a teacher names is meant
    own = exercises_in(path)
    if own:
        return [Submission(inert(path.name, lines=False), own, note_on(own, True))]
    if whatever:
        return [Submission(inert(path.name, lines=False), None, note_on(path, False))]
    folders = sorted(one for one in path.iterdir() if not one.name.startswith((".", "_")) and one.is_dir())
    found = [submission(folder) for folder in folders]
    found += [Submission(name, None, note) for name, note in loose_files(path)]
    if not any(one.folder for one in found):
        instead = found_instead(path)
        raise UserError(
            f"no exercises in {path}: a student's folder holds ex1_bm25.py and the other files."
            + (f" Found {instead}." if instead else "")
        )
    return found


def copy_files(source: Path, target: Path) -> None:
    """Copy Python files from the top of a folder: no links, at most 100, none above a megabyte, none that is unreadable."""
    names = sorted(os.listdir(source), key=lambda name: (name not in FILES, name))
    for name in [one for one in names if one.endswith(".py")][:MAX_FILES]:
        with suppress(OSError, ValueError):
            _copy(source / name, target / name)


def _copy(path: Path, target: Path) -> None:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if not is_file(path):
        return
    with open(os.open(path, flags), "rb") as reading:
        state = os.fstat(reading.fileno())
        if stat.S_ISREG(state.st_mode) and state.st_size <= MAX_SOURCE:
            target.write_bytes(reading.read(MAX_SOURCE))


@contextmanager
def copied(source: Path) -> Iterator[Path]:
    """A copy of a folder's Python files, which is deleted afterwards."""
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="grading-")))
    try:
        copy_files(source, place)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
