"""What a stopped run had finished, so that the same command goes on from there.

One line of JSON for each finished student, in the user's cache folder: never among the students' files, where one of them
could be called like it. A line counts only if the student's files, the checks and the options are the same as then. A
run that comes to its end deletes its file.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from semanticbm.grading.folders import MAX_FILES, MAX_SOURCE, Submission, is_file
from semanticbm.grading.registry import all_exercises
from semanticbm.grading.report import Result, frozen, thawed


def cache_folder() -> Path:
    """Where runs are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "semanticbm" / "grading"


def _digest(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _version_of_checks() -> bytes:
    folder = Path(__file__).parent
    return _digest(*(path.read_bytes() for path in sorted(folder.rglob("*.py")))).encode()


def fingerprint(handed_in: Submission) -> str:
    """What a student's exercise files hold, in a few characters."""
    parts = [handed_in.name.encode("utf-8", "replace"), handed_in.note.encode()]
    with suppress(OSError):
        paths = sorted(handed_in.folder.glob("*.py"))[:MAX_FILES] if handed_in.folder else []
        for path in filter(is_file, paths):
            with open(path, "rb") as file:
                parts += [os.fsencode(path.name), file.read(MAX_SOURCE + 1)]
    return _digest(*parts)


class Store:
    """The finished students of a run over a folder."""

    def __init__(self, path: Path, held_out: bool, sandboxed: bool):
        key = _digest(os.fsencode(os.path.realpath(path)), str((held_out, sandboxed)).encode(), _version_of_checks())
        self.file = cache_folder() / f"{key[:24]}.jsonl"
        self.found = self._read()

    def _read(self) -> dict[str, list]:
        found = {}
        with suppress(OSError):
            for line in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # a line that was cut off by the end of the run
                    entry = json.loads(line)
                    found[entry["fingerprint"]] = entry["results"]
        return found

    def known(self, key: str) -> list[Result] | None:
        """The results of the student with this fingerprint from a run that was stopped, or None."""
        entries, exercises = self.found.get(key), all_exercises()
        if entries is None or len(entries) != len(exercises):
            return None
        return [thawed(exercise, entry) for exercise, entry in zip(exercises, entries, strict=True)]

    def keep(self, grade) -> None:
        """Remember a student who was graded in this run. A disk that cannot be written is no reason to stop."""
        if not grade.fingerprint:
            return
        line = json.dumps({"fingerprint": grade.fingerprint, "results": [frozen(result) for result in grade.results]})
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(line + "\n")

    def forget(self) -> None:
        """The run is complete."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)
