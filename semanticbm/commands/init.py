"""`semanticbm init FOLDER`: a fresh set of exercises, from a clone or from the installed package alone.

A file that is there already is never written over. With `update`, exercises that are new, and stubs that changed and that
nobody began, are brought into the reader's files; what the reader wrote stays to the letter.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from semanticbm.commands.stubs import exercises_of, fresh, merge
from semanticbm.errors import UserError
from semanticbm.grading.classroom import template
from semanticbm.loading.files import write_text


def shipped_folder() -> Path:
    """The exercise files of this installation: in the package, or in the clone that the package is part of."""
    package = Path(str(files("semanticbm")))
    for folder in (package / "shipped" / "exercises", package.parent / "exercises"):
        if (folder / "ex1_bm25.py").is_file():
            return folder
    raise UserError("this installation has no exercises: install semanticbm again, or run this in a clone.")


def shipped_files() -> dict[str, str]:
    """The text of every exercise file by its name, all exercises to do."""
    return {path.name: fresh(path.read_text(encoding="utf-8")) for path in sorted(shipped_folder().glob("*.py"))}


def _count(names: list[str], what: str) -> list[str]:
    return [f"{len(names)} {what} ({', '.join(names)})"] if names else []


def _update(path: Path, shipped: str) -> str:
    """Merge a shipped file into the reader's file; says what was done."""
    try:
        merged = merge(path.read_text(encoding="utf-8-sig"), shipped)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return f"left alone: it is not valid Python{line}; mend it and run this again"
    changes = _count(merged.added, "new") + _count(merged.renewed, "renewed")
    if changes:
        write_text(path, merged.text)
    return ", ".join(changes) or "nothing new"


def _put(path: Path, text: str, update: bool) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        number = len(exercises_of(text)) if path.suffix == ".py" else 0
        return f"{number} exercises" if number else "written"
    if not update:
        return "is there already and stays as it is"
    return _update(path, text) if path.name.startswith("ex") else "stays as it is"


def init_command(folder: Path, update: bool, classroom: bool = False) -> None:
    """Put the exercise files into `folder`, and print a line for each. Raises `UserError` if that is not a folder.

    With `classroom` they go into its folder `exercises`, beside a workflow and a page for students.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder for the exercises.")
    texts = template(shipped_files()) if classroom else shipped_files()
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = {name: _put(folder / name, text, update) for name, text in texts.items()}
    for name, outcome in outcomes.items():
        print(f"{folder / name}: {outcome}")
    if not update and any("already" in outcome for outcome in outcomes.values()):
        print("To bring new exercises into files that are there: add --update. It keeps what you wrote.")
    print(f"Solve one, then: semanticbm check --folder {folder / 'exercises' if classroom else folder}")
